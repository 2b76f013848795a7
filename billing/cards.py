"""Cards that wait at the provider for one-click payments: kept with consent, shown, chosen, removed."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts import audit, claims
from accounts.models import Customer, User
from billing import payers, stripe_gateway
from billing.models import AutoRecharge, CardSetup, SavedCard
from billing.top_up_limits import lock

log = logging.getLogger(__name__)

_REPEATABLE = timedelta(hours=20)


def of(customer: Customer) -> QuerySet[SavedCard]:
    """The cards that can be charged, the default one first."""
    return SavedCard.objects.filter(customer=customer, removed_at=None).order_by("-is_default", "-created_at")


def start_setup(*, customer: Customer, user: User, setup_id: uuid.UUID) -> CardSetup:
    """Writes the wish down and asks the provider for its page; the same form sent twice is the same row and page.

    Raises stripe_gateway.NotConfigured before anything is written.
    """
    if not settings.STRIPE_SECRET_KEY:
        raise stripe_gateway.NotConfigured
    CardSetup.objects.bulk_create([CardSetup(id=setup_id, customer=customer, created_by=user)], ignore_conflicts=True)
    setup = CardSetup.objects.filter(id=setup_id, customer=customer).first()
    setup = setup or CardSetup.objects.create(customer=customer, created_by=user)
    if setup.status == CardSetup.Status.STARTED:
        try:
            _open(setup)
        except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
            log.warning("card setup %s has no page yet: %s", setup.id, error)
    return setup


def settle_setup(setup_id: uuid.UUID, *, session_id: str | None = None) -> str:
    """Asks the provider what became of the wish and keeps the card; returns the row's status.

    Raises stripe_gateway.Unavailable, Refused.
    """
    setup = CardSetup.objects.get(id=setup_id)
    if setup.status not in (CardSetup.Status.STARTED, CardSetup.Status.OPEN):
        return setup.status
    if setup.checkout_session_id is None and session_id is None:
        if timezone.now() - setup.created_at > _REPEATABLE:
            return _end(setup, CardSetup.Status.EXPIRED, "The page was never shown.")
        _open(setup)
    session = stripe_gateway.setup_session(setup.checkout_session_id or session_id or "")
    payer = payers.provider_id(setup.customer, setup.created_by)
    if session.reference != str(setup.id) or session.customer_id != payer:
        return _end(setup, CardSetup.Status.FAILED, "The provider's page belongs to somebody else.")
    if session.payment_method_id:
        _keep_from(setup, session)
    elif session.status == "expired":
        _end(setup, CardSetup.Status.EXPIRED, "")
    setup.refresh_from_db()
    return setup.status


def keep(
    *,
    customer: Customer,
    user: User,
    payment_method_id: str,
    card: stripe_gateway.Card,
    consented_at: datetime,
    charged: bool = False,
) -> SavedCard:
    """Writes a kept card down, once; the same card kept before is replaced by it. Call it inside a transaction."""
    lock(customer.pk)
    known = SavedCard.objects.filter(payment_method_id=payment_method_id).first()
    if known:
        return known
    earlier = list(of(customer).filter(fingerprint=card.fingerprint)) if card.fingerprint else []
    now = timezone.now()
    SavedCard.objects.filter(id__in=[row.id for row in earlier]).update(is_default=False, removed_at=now)
    saved = SavedCard.objects.create(
        customer=customer,
        saved_by=user,
        payment_method_id=payment_method_id,
        brand=card.brand[:20],
        last4=card.last4,
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        fingerprint=card.fingerprint,
        country=card.country,
        funding=card.funding[:10],
        is_default=not of(customer).filter(is_default=True).exists(),
        consented_at=consented_at,
        charged_at=now if charged else None,
    )
    AutoRecharge.objects.filter(customer=customer, card__in=earlier).update(card=saved)
    audit.write("card.saved", subject=f"card:{saved.id}", actor=user, customer=customer, after={"card": str(saved)})
    return saved


def choose(card: SavedCard, *, user: User) -> None:
    """Makes it the card that is offered first."""
    with transaction.atomic():
        lock(card.customer_id)
        SavedCard.objects.filter(customer_id=card.customer_id, is_default=True).update(is_default=False)
        SavedCard.objects.filter(id=card.id, removed_at=None).update(is_default=True)
        audit.write("card.chosen", subject=f"card:{card.id}", actor=user, customer=card.customer)


def remove(card: SavedCard, *, user: User) -> bool:
    """Takes the card away at once; the provider forgets it a moment later. False when somebody was first.

    Recharging by this card ends with it; another card becomes the default one.
    """
    with transaction.atomic():
        lock(card.customer_id)
        removed = SavedCard.objects.filter(id=card.id, removed_at=None).update(
            removed_at=timezone.now(), removed_by=user, is_default=False
        )
        if not removed:
            return False
        next_card = of(card.customer).first()
        if next_card and not next_card.is_default:
            SavedCard.objects.filter(id=next_card.id).update(is_default=True)
        AutoRecharge.objects.filter(customer_id=card.customer_id, card=card, is_on=True).update(
            is_on=False, off_reason=f"Switched off because {card} was removed."
        )
        audit.write(
            "card.removed", subject=f"card:{card.id}", actor=user, customer=card.customer, before={"card": str(card)}
        )
    return True


def sweep(*, limit: int = 50) -> int:
    """Follows wishes that no event told about, and has removed cards forgotten; returns how many it asked for."""
    asked = 0
    removed = SavedCard.objects.filter(removed_at__isnull=False, detached_at=None).order_by("-removed_at")
    try:
        for setup_id in _due(limit):
            asked += 1
            with _one_refusal():
                settle_setup(setup_id)
        for card in removed[:limit]:
            asked += 1
            with _one_refusal():
                stripe_gateway.forget_card(card.payment_method_id)
                SavedCard.objects.filter(id=card.id).update(detached_at=timezone.now())
    except stripe_gateway.Unavailable as error:
        log.warning("the payment provider does not answer (%s); cards are looked after later", error)
    return asked


@contextmanager
def _one_refusal() -> Iterator[None]:
    """What the provider refuses about one card is told, and the next one has its turn."""
    try:
        yield
    except stripe_gateway.Refused as error:
        log.error("the payment provider refuses to tell about a card: %s", error)


def follow(payment_method_id: str) -> None:
    """A card that the provider renewed or forgot: our row says the same. Raises stripe_gateway.Unavailable, Refused."""
    known = SavedCard.objects.filter(payment_method_id=payment_method_id, removed_at=None).first()
    if known is None:
        return
    now_there = stripe_gateway.kept_card(payment_method_id)
    if not now_there.customer_id:
        SavedCard.objects.filter(id=known.id, removed_at=None).update(
            is_default=False, removed_at=timezone.now(), detached_at=timezone.now()
        )
        return
    SavedCard.objects.filter(id=known.id).update(
        last4=now_there.card.last4, exp_month=now_there.card.exp_month, exp_year=now_there.card.exp_year
    )


def _open(setup: CardSetup) -> None:
    try:
        session = _page(setup)
    except stripe_gateway.AnswerStuck:
        CardSetup.objects.filter(id=setup.id, attempt=setup.attempt).update(attempt=F("attempt") + 1)
        setup.refresh_from_db()
        session = _page(setup)
    except stripe_gateway.Refused as error:
        _end(setup, CardSetup.Status.FAILED, f"The payment provider refused: {error}")
        raise
    CardSetup.objects.filter(id=setup.id, status=CardSetup.Status.STARTED).update(
        status=CardSetup.Status.OPEN, checkout_session_id=session.id, checkout_url=session.url
    )
    setup.refresh_from_db()


def _page(setup: CardSetup) -> stripe_gateway.SetupSession:
    back = f"{settings.WEB_URL}{reverse('card_return', args=[setup.id])}"
    return stripe_gateway.create_setup_session(
        reference=str(setup.id),
        attempt=setup.attempt,
        customer_id=payers.provider_id(setup.customer, setup.created_by),
        currency="usd",
        success_url=back,
        cancel_url=f"{back}?left=1",
    )


def _keep_from(setup: CardSetup, session: stripe_gateway.SetupSession) -> None:
    with transaction.atomic():
        mine = (
            CardSetup.objects.filter(id=setup.id)
            .exclude(status=CardSetup.Status.DONE)
            .update(status=CardSetup.Status.DONE, checkout_session_id=session.id, failure="")
        )
        if mine:
            card = keep(
                customer=setup.customer,
                user=setup.created_by,
                payment_method_id=session.payment_method_id,
                card=session.card,
                consented_at=setup.created_at,
            )
            CardSetup.objects.filter(id=setup.id).update(card=card)


def _end(setup: CardSetup, status: CardSetup.Status, failure: str) -> str:
    CardSetup.objects.filter(id=setup.id, status__in=["started", "open"]).update(status=status, failure=failure[:200])
    setup.refresh_from_db()
    return setup.status


def _due(limit: int) -> Iterator[uuid.UUID]:
    """Claims one row after the other; a page that stays open is asked about ever more seldom."""
    return claims.ids(
        """
        UPDATE billing_cardsetup SET checked_at = clock_timestamp() WHERE id = (
            SELECT id FROM billing_cardsetup
            WHERE status IN ('started', 'open')
              AND created_at < clock_timestamp() - interval '1 minute'
              AND created_at > clock_timestamp() - interval '3 days'
              AND coalesce(checked_at, '-infinity') < clock_timestamp()
                  - greatest(interval '30 seconds', (clock_timestamp() - created_at) / 8)
            ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        limit,
    )
