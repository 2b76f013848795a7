"""What tax a sale of services to one place would carry: a small table and the rules of registration; pure."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from fractions import Fraction

EU_STANDARD = {
    "AT": "20",
    "BE": "21",
    "DE": "19",
    "DK": "25",
    "ES": "21",
    "FI": "25.5",
    "FR": "20",
    "IE": "23",
    "IT": "22",
    "NL": "21",
    "PL": "23",
    "PT": "23",
    "SE": "25",
}
ELSEWHERE = {"GB": "20", "NO": "25", "CH": "8.1"}
# (level, name, percent) of each tax in a state; states with none of them have no sales tax here.
US = {
    "CA": [("state", "California", "7.25")],
    "NY": [("state", "New York", "4"), ("city", "New York City", "4.875")],
    "TX": [("state", "Texas", "6.25")],
    "WA": [("state", "Washington", "6.5")],
    "OR": [],
    "MT": [],
    "NH": [],
}
NAMES = {
    "AT": "Austria",
    "BE": "Belgium",
    "CH": "Switzerland",
    "DE": "Germany",
    "DK": "Denmark",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "United Kingdom",
    "IE": "Ireland",
    "IT": "Italy",
    "NL": "Netherlands",
    "NO": "Norway",
    "PL": "Poland",
    "PT": "Portugal",
    "SE": "Sweden",
}
# Where the merchant collects: countries, states of the US, and EU for the one-stop shop.
REGISTRATIONS = ["DE", "EU", "GB", "NO", "CH", *(f"US-{state}" for state in US)]
HEAD_OFFICE = "DE"
ID_FORMS = {
    "eu_vat": re.compile(r"[A-Z]{2}[0-9A-Z+*]{2,12}"),
    "gb_vat": re.compile(r"GB([0-9]{9}|[0-9]{12})"),
    "no_vat": re.compile(r"[0-9]{9}MVA"),
    "ch_vat": re.compile(r"CHE-[0-9]{3}\.[0-9]{3}\.[0-9]{3} (MWST|TVA|IVA)"),
    "us_ein": re.compile(r"[0-9]{2}-[0-9]{7}"),
}
_ID_OF = {"GB": "gb_vat", "NO": "no_vat", "CH": "ch_vat"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """One tax: `percent` as text, `reason` why it is as it is."""

    country: str
    state: str | None
    level: str
    jurisdiction: str
    name: str
    kind: str
    percent: str
    reason: str

    def of(self, minor: int) -> int:
        """Rounded half up to whole minor units."""
        return int(minor * Fraction(self.percent) / 100 + Fraction(1, 2))


def rates(
    *,
    address: Mapping[str, str | None],
    tax_ids: Collection[str],
    exempt: str,
    head_office: str,
    registrations: Collection[str],
) -> list[Rate]:
    """The taxes of a sale to `address`; `tax_ids` are the kinds of the customer's numbers; empty where
    nothing is known of the place."""
    country, state = address.get("country") or "", address.get("state") or ""
    if country == "US":
        return _sales_taxes(state, exempt, registrations)
    percent = EU_STANDARD.get(country) or ELSEWHERE.get(country)
    if percent is None:
        return []
    business = ("eu_vat" if country in EU_STANDARD else _ID_OF[country]) in tax_ids
    collects = country in registrations or (country in EU_STANDARD and "EU" in registrations)
    if exempt == "exempt":
        reason = "customer_exempt"
    elif exempt == "reverse" or (business and country != head_office):
        reason = "reverse_charge"
    else:
        reason = "standard_rated" if collects else "not_collecting"
    return [
        Rate(
            country=country,
            state=None,
            level="country",
            jurisdiction=NAMES[country],
            name="VAT",
            kind="vat",
            percent=percent if reason == "standard_rated" else "0",
            reason=reason,
        )
    ]


def _sales_taxes(state: str, exempt: str, registrations: Collection[str]) -> list[Rate]:
    taxes = US.get(state, [])
    if f"US-{state}" not in registrations:
        reason = "not_collecting"
    elif exempt != "none":
        reason = "customer_exempt"
    else:
        reason = "standard_rated" if taxes else "not_subject_to_tax"
    return [
        Rate(
            country="US",
            state=state,
            level=level,
            jurisdiction=name,
            name="Sales tax",
            kind="sales_tax",
            percent=percent if reason == "standard_rated" else "0",
            reason=reason,
        )
        for level, name, percent in taxes or [("state", state, "0")]
    ]
