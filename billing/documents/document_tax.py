"""What a document says about tax: its lines, the sentences the law wants, and the amount in the country's currency."""

import logging
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from django.utils import timezone

from billing import countries, tax
from billing.documents import snapshot
from billing.documents.snapshot import TaxLine
from billing.models import FxRate, LegalEntity, TaxMode, TaxRegistration, TopUp, TopUpTax

log = logging.getLogger(__name__)


def lines(top_up: TopUp) -> list[TaxLine]:
    """Taxes that are due, and what stands in their place; nothing where the seller collects none.

    What a bank brought may be another amount than was asked for: the lines follow the row's parts.
    """
    known = _known(top_up)
    told = known.breakdown if known else [_bare(office, top_up) for office in sorted(top_up.tax_parts)]
    shown = [line for line in told if line["tax_cents"] or line["reason"] == "reverse_charge"]
    cents = _shares(shown, top_up)
    return [
        TaxLine(
            jurisdiction=line["jurisdiction"],
            name=name_of(line),
            rate_percent=line["percent"] if line["tax_cents"] else "",
            base_cents=top_up.net_cents,
            tax_cents=part,
            reason=line["reason"],
        )
        for line, part in zip(shown, cents, strict=True)
    ]


def notes(top_up: TopUp) -> list[str]:
    known = _known(top_up)
    if known is None:
        return []
    sentence = tax.note(
        tax.Treatment(known.treatment),
        seller=known.entity.country,
        country=known.country,
        at_use=known.mode == TaxMode.Mode.AT_USE,
    )
    return [sentence] if sentence else []


def evidence(top_up: TopUp) -> dict[str, str]:
    """Where the customer is, by address, card and network address; kept, not printed."""
    known = _known(top_up)
    if known is None:
        return {}
    agree = tax.evidence_agrees(billing_country=known.country, card_country=top_up.card_country)
    words = {True: "yes", False: "no", None: "one only"}
    return {
        "billing_country": known.country,
        "card_country": top_up.card_country,
        "ip": known.ip or "",
        "agree": words[agree],
    }


def registered_as(entity: LegalEntity, top_up: TopUp) -> list[tuple[str, str]]:
    """The seller's numbers at the offices that this tax is owed to."""
    rows = TaxRegistration.objects.filter(entity=entity, collects=True, valid_from__lte=timezone.now())
    newest = {row.jurisdiction: row.number for row in rows.order_by("valid_from", "id") if row.number}
    found = []
    for office in top_up.tax_parts:
        shop = tax.ONE_STOP_SHOP if office in countries.EU and office not in newest else office
        if newest.get(shop) and newest[shop] != entity.tax_id:
            found.append((f"Tax id ({shop})", newest[shop]))
    return found


def national(top_up: TopUp, *, tax_nano_usd: int) -> dict[str, str]:
    """The VAT in its country's currency at the newest recorded rate; empty where the document has that currency."""
    known = _known(top_up)
    currency = countries.vat_currency(known.country) if known else None
    if not tax_nano_usd or currency is None or currency == top_up.currency:
        return {}
    rate = (
        FxRate.objects.filter(currency=currency, valid_from__lte=timezone.now()).order_by("-valid_from", "-id").first()
    )
    if rate is None:
        log.error("no rate of %s is recorded: the receipt of top-up %s lacks its VAT in it", currency, top_up.pk)
        return {}
    return _converted(
        currency.upper(),
        rate.nano_usd_per_cent,
        tax_nano_usd,
        f"{rate.source}, {snapshot.moment(rate.valid_from)[:10]}",
    )


def national_again(before: Mapping[str, str], *, tax_nano_usd: int) -> dict[str, str]:
    """The same for a credit note, at its receipt's rate."""
    if not before or not tax_nano_usd:
        return {}
    return _converted(before["currency"], int(before["nano_usd_per_cent"]), tax_nano_usd, before["source"])


def _converted(currency: str, nano_usd_per_cent: int, tax_nano_usd: int, source: str) -> dict[str, str]:
    cents = int(Fraction(tax_nano_usd, nano_usd_per_cent) + Fraction(1, 2))
    return {
        "currency": currency,
        "tax": snapshot.amount(cents),
        "nano_usd_per_cent": str(nano_usd_per_cent),
        "source": source,
    }


def _bare(office: str, top_up: TopUp) -> dict[str, Any]:
    """A tax of which only office and amount are known."""
    cents = top_up.tax_parts[office]
    return {"jurisdiction": office, "name": "Tax", "percent": "", "tax_cents": cents, "reason": ""}


def _shares(shown: Sequence[Mapping[str, Any]], top_up: TopUp) -> list[int]:
    """What of each office's part goes to each of its lines: as they were calculated, the rest to its last line."""
    left = dict(top_up.tax_parts)
    weights = {office: sum(line["tax_cents"] for line in shown if line["jurisdiction"] == office) for office in left}
    shares = []
    for line in shown:
        office, weight = line["jurisdiction"], line["tax_cents"]
        if not weight:
            shares.append(0)
            continue
        part = int(Fraction(left[office] * weight, weights[office]) + Fraction(1, 2))
        left[office] -= part
        weights[office] -= weight
        shares.append(part)
    return shares


def _known(top_up: TopUp) -> TopUpTax | None:
    return TopUpTax.objects.filter(top_up=top_up).select_related("entity").first()


def name_of(line: Mapping[str, Any]) -> str:
    """`VAT Germany` of a line of a breakdown."""
    if line["reason"] == "reverse_charge":
        return "VAT, reverse charge"
    place = line["jurisdiction"].removeprefix("US-")
    named = countries.US_STATES.get(place) if line["jurisdiction"].startswith("US-") else countries.NAMES.get(place)
    return line["name"] if " " in line["name"] and line["name"] != "Sales tax" else f"{line['name']} {named or place}"
