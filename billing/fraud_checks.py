"""What is looked at when somebody signs up or pays: each check is a question with a plain answer."""

import functools
import importlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from accounts.client_address import neighbourhood, parse
from accounts.models import Customer, Membership, TermsAcceptance, User
from billing import fraud, tax
from billing.fraud import Code
from billing.models import BillingProfile, FraudCheck, TaxIdState, TopUp, TopUpTax
from billing.tax import Treatment

MANY_CARDS = 4
CARDS_WITHIN = timedelta(days=7)
SIGN_UPS_WITHIN = timedelta(days=1)
_NAMED = 5


def look(*, limit: int = 200) -> int:
    """Checks every account and every payment that was not checked yet; returns how many."""
    done = 0
    new = Customer.objects.exclude(pk__in=_checked("customer:", models.BigIntegerField())).order_by("pk")
    for customer in new[:limit]:
        check_sign_up(customer)
        done += _done(f"customer:{customer.pk}")
    paid = TopUp.objects.filter(status=TopUp.Status.PAID).exclude(pk__in=_checked("top_up:", models.UUIDField()))
    for top_up in paid.select_related("customer").order_by("settled_at")[:limit]:
        check_payment(top_up)
        done += _done(f"top_up:{top_up.pk}")
    return done


def check_payment(top_up: TopUp) -> None:
    """The card of a payment: who else pays with it, how many there are, and where it comes from."""
    customer, card = top_up.customer, top_up.card_fingerprint
    if card:
        others = Customer.objects.filter(top_ups__card_fingerprint=card, top_ups__status=TopUp.Status.PAID)
        others = others.exclude(pk=customer.pk).distinct().order_by("pk")
        for other in others[:_NAMED]:
            _shared(customer, other, top_up)
            _shared(other, customer, top_up)
        paid = TopUp.objects.filter(customer=customer, settled_at__gt=timezone.now() - CARDS_WITHIN)
        cards = paid.exclude(card_fingerprint="").values("card_fingerprint").distinct().count()
        if cards >= MANY_CARDS:
            fraud.note(
                customer,
                code=Code.MANY_CARDS,
                reference=f"many_cards:{customer.pk}:{timezone.now():%G-%V}",
                reason=f"{cards} different cards paid within {CARDS_WITHIN.days} days.",
            )
    _check_country(top_up)
    _check_location(top_up)


def check_sign_up(customer: Customer) -> None:
    """Who opened an account: from where, how many others from there, and with what kind of mailbox."""
    for seat in Membership.objects.filter(customer=customer).select_related("user"):
        _check_mailbox(customer, seat.user)
        _check_velocity(customer, seat.user)


def mailbox(address: str) -> str:
    """The mailbox that an address reaches: `A.B+x@gmail.com` is `ab@gmail.com`; tags are dropped everywhere."""
    local, _, domain = address.strip().lower().rpartition("@")
    local = local.partition("+")[0]
    domain = "gmail.com" if domain == "googlemail.com" else domain
    return f"{local.replace('.', '') if domain == 'gmail.com' else local}@{domain}"


def is_disposable(address: str) -> bool:
    """Whether the list or the function that DISPOSABLE_MAIL names knows the address's domain."""
    return bool(settings.DISPOSABLE_MAIL) and _judge(settings.DISPOSABLE_MAIL)(address.rpartition("@")[2].lower())


@functools.lru_cache(maxsize=4)
def _judge(source: str) -> Callable[[str], bool]:
    """A file with a domain a line, or `package.module:function` that takes a domain."""
    module, colon, name = source.partition(":")
    if colon and "/" not in source:
        judge: Callable[[str], bool] = getattr(importlib.import_module(module), name)
        return judge
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    domains = frozenset(line.strip().lower() for line in lines if line.strip() and not line.startswith("#"))
    return lambda domain: any(domain == listed or domain.endswith(f".{listed}") for listed in domains)


def _shared(customer: Customer, other: Customer, top_up: TopUp) -> None:
    fraud.note(
        customer,
        code=Code.SHARED_CARD,
        reference=f"shared_card:{top_up.card_fingerprint}:{customer.pk}",
        reason=f"{top_up.card or 'A card'} also pays for {other.name} (account {other.pk}).",
    )


def _check_country(top_up: TopUp) -> None:
    customer, card = top_up.customer, top_up.card_country
    profile = BillingProfile.objects.filter(customer=customer).first()
    billed = profile.country if profile else ""
    for country, what in ((card, "The card"), (billed, "The billing address")):
        if country and country in settings.BLOCKED_COUNTRIES:
            fraud.note(
                customer,
                code=Code.BLOCKED_COUNTRY,
                reference=f"blocked_country:{customer.pk}:{country}",
                reason=f"{what} is from {country}, which we do not serve.",
            )
    if card and billed and card != billed:
        fraud.note(
            customer,
            code=Code.CARD_COUNTRY,
            reference=f"card_country:{customer.pk}:{card}:{billed}",
            reason=f"The card is from {card}, the billing address is in {billed}.",
        )


def _check_location(top_up: TopUp) -> None:
    """Tax by the place of a consumer wants two pieces of evidence that point to one country."""
    known = TopUpTax.objects.filter(top_up=top_up, treatment=Treatment.TAXED).first()
    if known is None or known.tax_id_state == TaxIdState.VALID:
        return
    if tax.evidence_agrees(billing_country=known.country, card_country=top_up.card_country):
        return
    if top_up.card_country:
        why = f"the card is from {top_up.card_country}"
    elif top_up.ip:
        why = f"besides the address there is only the network address {top_up.ip}"
    else:
        why = "nothing but the address says so: no card with a country, no network address"
    fraud.note(
        top_up.customer,
        code=Code.LOCATION,
        reference=f"location:{top_up.customer_id}:{known.country}:{top_up.card_country or bool(top_up.ip)}",
        reason=f"A payment is taxed as from {known.country}; {why}.",
    )


def _check_mailbox(customer: Customer, user: User) -> None:
    local = mailbox(user.email)
    domain = user.email.rpartition("@")[2]
    same = User.objects.exclude(pk=user.pk).filter(Q(email__iendswith=f"@{domain}")).exclude(customers=customer)
    twin = next((other for other in same.only("email")[:2_000] if mailbox(other.email) == local), None)
    if twin is not None:
        fraud.note(
            customer,
            code=Code.ALIAS_ADDRESS,
            reference=f"alias_address:{customer.pk}:{local}",
            reason=f"{user.email} reaches the same mailbox as {twin.email}.",
        )
    if is_disposable(user.email):
        fraud.note(
            customer,
            code=Code.DISPOSABLE_MAIL,
            reference=f"disposable_mail:{customer.pk}:{domain}",
            reason=f"{user.email} is a mailbox that is thrown away.",
        )


def _check_velocity(customer: Customer, user: User) -> None:
    first = TermsAcceptance.objects.filter(user=user).exclude(address=None).order_by("at").first()
    if first is None:
        return
    place = neighbourhood(parse(first.address or ""))
    near = TermsAcceptance.objects.filter(
        at__gt=first.at - SIGN_UPS_WITHIN, at__lte=first.at + SIGN_UPS_WITHIN
    ).exclude(user=user)
    found = near.values_list("user_id", "address")[:5_000]
    others = {user_id for user_id, address in found if neighbourhood(parse(address or "")) == place}
    if len(others) + 1 > settings.SIGN_UPS_PER_DAY:
        fraud.note(
            customer,
            code=Code.SIGN_UPS,
            reference=f"sign_ups:{customer.pk}",
            reason=f"{len(others) + 1} people signed up from {place} within a day.",
        )


def _checked(prefix: str, field: "models.Field[Any, Any]") -> "models.QuerySet[FraudCheck, Any]":
    """The ids behind the checks of one kind."""
    number = Cast(Substr("reference", len(prefix) + 1), output_field=field)
    return FraudCheck.objects.filter(reference__startswith=prefix).annotate(number=number).values("number")


def _done(reference: str) -> int:
    return len(FraudCheck.objects.bulk_create([FraudCheck(reference=reference)], ignore_conflicts=True))
