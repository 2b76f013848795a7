"""Tax on top-ups: whether any is due, who works it out, and what was worked out, written down before anybody pays."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.db import transaction
from django.utils import timezone

from accounts.models import Customer, User
from billing import payers, stripe_gateway, tax
from billing.documents import sellers
from billing.models import BillingProfile, LegalEntity, TaxIdState, TaxMode, TaxRegistration, TopUp, TopUpTax
from billing.stripe_gateway import Address
from billing.tax import TaxLine, Treatment

log = logging.getLogger(__name__)


class Unknown(Exception):
    """The tax cannot be told, so nothing is charged; the text says so to the customer."""


class ProfileNeeded(Unknown):
    """The seller collects tax, and nobody knows yet where this customer is."""

    def __init__(self) -> None:
        super().__init__("Fill in the billing profile first: tax depends on where you are. Nothing was charged.")


class TaxesDiffer(Unknown):
    """The provider's taxes do not add up to its total."""

    def __init__(self) -> None:
        super().__init__("The tax could not be worked out. Nothing was charged.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the tax of one customer is to be worked out. Without registrations there is none and nobody is asked."""

    entity: LegalEntity
    mode: TaxMode.Mode
    treatment: Treatment
    profile: BillingProfile

    @property
    def asks_provider(self) -> bool:
        return self.mode == TaxMode.Mode.AT_TOP_UP


def plan(customer: Customer) -> Plan | None:
    """None while the seller is registered nowhere: tax is off. Raises ProfileNeeded."""
    entity = sellers.current()
    registrations = collected_in(entity)
    if not registrations:
        return None
    profile = BillingProfile.objects.filter(customer=customer).first()
    if profile is None:
        raise ProfileNeeded
    return Plan(
        entity=entity,
        mode=mode_of(entity, profile.country),
        treatment=tax.treatment(
            seller=entity.country,
            registrations=registrations,
            country=profile.country,
            region=profile.region,
            valid_tax_id=profile.tax_id_state == TaxIdState.VALID,
        ),
        profile=profile,
    )


def is_on() -> bool:
    """Whether the seller collects tax anywhere."""
    return bool(collected_in(sellers.current()))


def collected_in(entity: LegalEntity) -> set[str]:
    """Where the seller collects tax now: countries, US-CA and the like, EU for the one-stop shop."""
    rows = TaxRegistration.objects.filter(entity=entity, valid_from__lte=timezone.now()).order_by("valid_from", "id")
    newest = {row.jurisdiction: row.collects for row in rows}
    return {jurisdiction for jurisdiction, collects in newest.items() if collects}


def mode_of(entity: LegalEntity, country: str) -> TaxMode.Mode:
    """The newest row for the country, else the newest for all, else tax at top-up."""
    rows = TaxMode.objects.filter(entity=entity, country__in=[country, ""], valid_from__lte=timezone.now())
    newest = rows.order_by("-country", "-valid_from", "-id").first()
    return TaxMode.Mode(newest.mode) if newest else TaxMode.Mode.AT_TOP_UP


def meet_provider(customer: Customer, user: User, profile: BillingProfile) -> str:
    """The provider's id of the customer, once the provider knows the profile as it is now.

    A tax id counts there once its register has confirmed it. Raises stripe_gateway.NotConfigured, Unavailable, Refused.
    """
    provider_id = payers.provider_id(customer, user)
    address = Address(
        line1=profile.line1,
        line2=profile.line2,
        postal_code=profile.postal_code,
        city=profile.city,
        region=profile.region,
        country=profile.country,
    )
    valid = profile.tax_id_state == TaxIdState.VALID
    tax_id = (profile.tax_id_kind, profile.tax_id) if valid else None
    told = _hash([profile.legal_name, asdict(address), tax_id])
    if profile.told_provider != told:
        stripe_gateway.tell_customer(provider_id, name=profile.legal_name, address=address, tax_id=tax_id)
        BillingProfile.objects.filter(pk=profile.pk).update(told_provider=told)
    return provider_id


def payer(top_up: TopUp, found: Plan | None) -> str:
    """The provider's id of who pays; where tax is due, it knows the profile first. Raises as meet_provider."""
    if found is None:
        return payers.provider_id(top_up.customer, top_up.created_by)
    return meet_provider(top_up.customer, top_up.created_by, found.profile)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The tax on a net amount by a plan; `calculation_id` is the provider's where it was asked without a page."""

    plan: Plan
    lines: Sequence[TaxLine] = ()
    tax_cents: int = 0
    calculation_id: str = ""

    def __post_init__(self) -> None:
        if sum(line.tax_cents for line in self.lines) != self.tax_cents:
            log.error("%s cents is not what %s taxes add up to", self.tax_cents, len(self.lines))
            raise TaxesDiffer


def quote(*, customer: Customer, user: User, net_cents: int, currency: str, reference: str) -> Quote | None:
    """The tax on a payment without a page, as the provider calculates it; None while tax is off.

    Raises ProfileNeeded, TaxesDiffer, stripe_gateway.NotConfigured, Unavailable, Refused.
    """
    found = plan(customer)
    if found is None:
        return None
    if not found.asks_provider:
        return Quote(plan=found)
    answer = stripe_gateway.calculate_tax(
        customer_id=meet_provider(customer, user, found.profile),
        reference=reference,
        net_cents=net_cents,
        currency=currency,
    )
    return Quote(plan=found, lines=answer.lines, tax_cents=answer.tax_cents, calculation_id=answer.id)


def calculate(top_up: TopUp) -> None:
    """For a STARTED row whose payment has no page: its tax, asked for and written down once. Raises as quote does."""
    if TopUpTax.objects.filter(top_up=top_up).exists():
        return
    found = quote(
        customer=top_up.customer,
        user=top_up.created_by,
        net_cents=top_up.net_cents,
        currency=top_up.currency,
        reference=str(top_up.pk),
    )
    if found:
        write_down(top_up, found)


def write_down(top_up: TopUp, found: Quote) -> None:
    """The tax of a STARTED top-up into its row, with why; the first call counts."""
    with transaction.atomic():
        mine = TopUp.objects.filter(pk=top_up.pk, status=TopUp.Status.STARTED, tax=None).update(
            tax_cents=found.tax_cents,
            total_cents=top_up.net_cents + found.tax_cents,
            tax_parts=tax.parts(found.lines),
        )
        if mine:
            keep(top_up, found)
    top_up.refresh_from_db()


def keep(top_up: TopUp, found: Quote) -> None:
    """Why a top-up's row says what it says of tax."""
    ours, profile = found.plan.treatment, found.plan.profile
    agrees = not found.plan.asks_provider or tax.agrees(ours, found.lines)
    if not agrees:
        log.warning("top-up %s: the provider taxes otherwise than %s", top_up.pk, ours)
    TopUpTax.objects.create(
        top_up=top_up,
        entity=found.plan.entity,
        mode=found.plan.mode,
        treatment=ours if agrees else (tax.told_by(found.lines) or Treatment.NOT_REGISTERED),
        country=profile.country,
        region=profile.region,
        tax_id=profile.tax_id,
        tax_id_state=profile.tax_id_state,
        ip=top_up.ip,
        breakdown=[asdict(line) for line in found.lines],
        calculation_id=found.calculation_id,
        agrees=agrees,
    )


def same_as(wish: TopUp, top_up: TopUp) -> None:
    """Money that came besides is taxed as the wish it came under."""
    known = TopUpTax.objects.filter(top_up=wish).first()
    if known:
        known.pk, known.top_up, known.calculation_id = None, top_up, ""
        known.save(force_insert=True)


def _hash(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
