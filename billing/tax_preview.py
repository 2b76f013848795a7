"""What a top-up costs with its tax, told before anybody pays; the provider's figure at the payment decides."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from django.core.cache import cache

from accounts.models import Customer, User
from billing import stripe_gateway, tax, taxing
from billing.documents import document_tax
from billing.tax import TaxLine, Treatment

log = logging.getLogger(__name__)

# The provider is asked about a round amount; its rates tell the tax of every other.
_ROUND_CENTS = 100_000
_KEPT_SECONDS = 3600

AT_USE = "No tax is added to the top-up. It is charged when the balance is used."
NOT_KNOWN = "Tax comes on top. How much cannot be told at the moment; what cannot be worked out is not charged."
NO_PROFILE = "Tax comes on top where it is due. Fill in the billing profile first: it depends on where you are."
_WITHOUT = {
    Treatment.TAXED: "No tax is due where you are.",
    Treatment.REVERSE_CHARGE: "No VAT is added: reverse charge. You owe the VAT in your country.",
    Treatment.OUTSIDE_SCOPE: "No tax is added: the service is supplied where you are.",
    Treatment.NOT_REGISTERED: "No tax is added.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """`lines` are (name with rate, minor units); `note` is said where there are none, without a total if not known."""

    net_cents: int
    total_cents: int | None
    currency: str
    lines: Sequence[tuple[str, int]] = ()
    note: str = ""


def of(*, customer: Customer, user: User, net_cents: int, currency: str) -> Preview | None:
    """What `net_cents` of credit cost; None while tax is off."""
    try:
        plan = taxing.plan(customer)
    except taxing.ProfileNeeded:
        return Preview(net_cents=net_cents, total_cents=None, currency=currency, note=NO_PROFILE)
    if plan is None:
        return None
    if not plan.asks_provider:
        return Preview(net_cents=net_cents, total_cents=net_cents, currency=currency, note=AT_USE)
    try:
        rates = _rates(customer, user, plan, currency)
    except (stripe_gateway.Unavailable, stripe_gateway.Refused, stripe_gateway.NotConfigured, taxing.Unknown) as error:
        log.warning("the tax of customer %s cannot be told now: %s", customer.pk, error)
        return Preview(net_cents=net_cents, total_cents=None, currency=currency, note=NOT_KNOWN)
    lines = [(f"{document_tax.name_of(asdict(rate))} {rate.percent} %", _tax(rate, net_cents)) for rate in rates]
    due = [(name, cents) for name, cents in lines if cents]
    told = tax.told_by(rates) or plan.treatment
    return Preview(
        net_cents=net_cents,
        total_cents=net_cents + sum(cents for _, cents in due),
        currency=currency,
        lines=due,
        note="" if due else _WITHOUT[told],
    )


def _rates(customer: Customer, user: User, plan: taxing.Plan, currency: str) -> list[TaxLine]:
    """The taxes of a round amount by the profile and the registrations as they are now; asked for once an hour."""
    profile = plan.profile
    told = [customer.pk, currency, profile.updated_at.isoformat(), profile.tax_id_state, plan.treatment]
    told.append(sorted(taxing.collected_in(plan.entity)))
    key = f"tax-rates-{hashlib.sha256(json.dumps(told).encode()).hexdigest()}"
    kept = cache.get(key)
    if kept is None:
        found = taxing.quote(
            customer=customer, user=user, net_cents=_ROUND_CENTS, currency=currency, reference="preview"
        )
        kept = [asdict(line) for line in found.lines] if found else []
        cache.set(key, kept, _KEPT_SECONDS)
    return [TaxLine(**line) for line in kept]


def _tax(rate: TaxLine, net_cents: int) -> int:
    """Rounded half up, as the provider does it for each tax."""
    if not rate.tax_cents:
        return 0
    taxed = Fraction(rate.base_cents, _ROUND_CENTS) * Fraction(rate.percent) / 100
    return int(net_cents * taxed + Fraction(1, 2))
