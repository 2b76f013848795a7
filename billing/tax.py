"""How a sale is taxed: the rules as pure functions of who sells, who buys and where the seller is registered."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from billing.countries import EU, VAT_ELSEWHERE

ONE_STOP_SHOP = "EU"


class Treatment(StrEnum):
    """`taxed` here includes places whose rate is zero; `not_registered` means the seller collects nothing there."""

    TAXED = "taxed"
    REVERSE_CHARGE = "reverse_charge"
    OUTSIDE_SCOPE = "outside_scope"
    NOT_REGISTERED = "not_registered"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxLine:
    """One tax of a sale: `percent` as text, base and tax in minor units, `reason` in the provider's word.

    `jurisdiction` is the office it is owed to: a country, or a state of the US such as US-CA.
    """

    jurisdiction: str
    name: str
    percent: str
    base_cents: int
    tax_cents: int
    reason: str


def treatment(
    *, seller: str, registrations: Collection[str], country: str, region: str = "", valid_tax_id: bool = False
) -> Treatment:
    """Electronic services to a customer in `country` (two letters; `region` a state of the US).

    `registrations` are countries, states (US-CA) and EU for the one-stop shop; `valid_tax_id` says that the customer is
    a business whose number the register confirmed. Rules: VAT Directive 2006/112/EC Art. 44, 45, 58, 196 and their
    like in GB, NO and CH; sales tax of the US where the seller has nexus.
    """
    if country in EU or country in VAT_ELSEWHERE:
        if valid_tax_id and country != seller:
            return Treatment.REVERSE_CHARGE
        shops = {country, ONE_STOP_SHOP} if country in EU and country != seller else {country}
        return Treatment.TAXED if shops & set(registrations) else Treatment.NOT_REGISTERED
    if country == "US" and f"US-{region}" in registrations:
        return Treatment.TAXED
    return Treatment.NOT_REGISTERED if seller == "US" else Treatment.OUTSIDE_SCOPE


def told_by(lines: Collection[TaxLine]) -> Treatment | None:
    """The treatment that the provider's reasons amount to; None when nothing is due and no reason tells more."""
    reasons = {line.reason for line in lines}
    if any(line.tax_cents for line in lines):
        return Treatment.TAXED
    if "reverse_charge" in reasons:
        return Treatment.REVERSE_CHARGE
    if reasons & {"standard_rated", "reduced_rated", "zero_rated", "not_subject_to_tax", "customer_exempt"}:
        return Treatment.TAXED
    return None


def agrees(ours: Treatment, lines: Collection[TaxLine]) -> bool:
    """Whether the provider's figures are what our own rules expect."""
    told = told_by(lines)
    return told == ours if told else ours in (Treatment.OUTSIDE_SCOPE, Treatment.NOT_REGISTERED)


def parts(lines: Collection[TaxLine]) -> dict[str, int]:
    """The tax owed to each office, in minor units; offices that get nothing are left out."""
    owed: dict[str, int] = {}
    for line in lines:
        if line.tax_cents:
            owed[line.jurisdiction] = owed.get(line.jurisdiction, 0) + line.tax_cents
    return owed


def note(kind: Treatment, *, seller: str, country: str, at_use: bool) -> str:
    """The sentence that a document needs about its tax; empty when the figures say it all."""
    if at_use:
        return "Tax is charged when the balance is used."
    if kind == Treatment.REVERSE_CHARGE:
        law = " (Article 196 of Directive 2006/112/EC)" if country in EU and seller in EU else ""
        return f"Reverse charge: the customer owes the VAT{law}."
    if kind == Treatment.OUTSIDE_SCOPE and seller in EU:
        return "Not subject to VAT in the European Union: the service is supplied where the customer is established."
    return ""


def evidence_agrees(*, billing_country: str, card_country: str) -> bool | None:
    """Whether address and card point to one country; None while there is just one of them."""
    if not (billing_country and card_country):
        return None
    return billing_country == card_country
