"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

import functools
import json
from dataclasses import dataclass
from typing import Any

import stripe
from django.conf import settings

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = 10.0
RETRIES = 2


class NotConfigured(Exception):
    """STRIPE_SECRET_KEY is not set, so nobody can pay in by card."""


class Unavailable(Exception):
    """No usable answer now: network, overload or the provider's own fault. Asking again later is right."""


class Refused(Exception):
    """The provider understood and said no; asking again would change nothing."""


class BadSignature(Exception):
    """A webhook body that none of our secrets signed, or an old one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fee:
    """What the provider kept of one charge."""

    balance_transaction_id: str
    amount_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A PaymentIntent with what its latest charge says; `fee` follows a moment after the charge."""

    id: str
    status: str
    received_cents: int
    currency: str
    card: str
    receipt_url: str
    fee: Fee | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckoutSession:
    """An order on the provider's own page. `reference` is our row's id."""

    id: str
    url: str
    status: str
    payment_status: str
    reference: str
    amount_cents: int
    currency: str
    payment: Payment | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A verified event: ids, and the body as it came."""

    id: str
    type: str
    object_id: str
    payload: dict[str, Any]


def create_checkout_session(
    *, reference: str, amount_cents: int, currency: str, email: str, title: str, success_url: str, cancel_url: str
) -> CheckoutSession:
    """The page on which `reference` is paid; the same reference gives the same page.

    Raises NotConfigured, Unavailable, Refused.
    """
    price: Any = {"currency": currency, "unit_amount": amount_cents, "product_data": {"name": title}}
    order: Any = {
        "mode": "payment",
        "payment_method_types": ["card"],
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": reference,
        "customer_email": email,
        "metadata": {"top_up": reference},
        "payment_intent_data": {"metadata": {"top_up": reference}},
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    with _Translated():
        return _session(_client().v1.checkout.sessions.create(order, {"idempotency_key": f"top-up-{reference}"}))


def checkout_session(session_id: str) -> CheckoutSession:
    """The session as the provider has it now, with payment, charge and fee. Raises Unavailable, Refused."""
    with _Translated():
        return _session(
            _client().v1.checkout.sessions.retrieve(
                session_id, {"expand": ["payment_intent.latest_charge.balance_transaction"]}
            )
        )


def verify_event(body: bytes, signature: str) -> Event:
    """The event of a webhook request whose raw body one of our secrets signed. Raises BadSignature."""
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), signature, secret, tolerance=stripe.Webhook.DEFAULT_TOLERANCE
            )
            return _event(json.loads(body))
        except stripe.SignatureVerificationError:
            continue
        except (ValueError, KeyError, TypeError):
            break
    raise BadSignature


def _event(payload: dict[str, Any]) -> Event:
    return Event(
        id=str(payload["id"]),
        type=str(payload["type"]),
        object_id=str(payload["data"]["object"].get("id", "")),
        payload=payload,
    )


def _client() -> stripe.StripeClient:
    if not settings.STRIPE_SECRET_KEY:
        raise NotConfigured
    return _cached_client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@functools.lru_cache(maxsize=4)
def _cached_client(secret_key: str, api_base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, ANSWER_SECONDS)),
    )


class _Translated:
    """Turns the SDK's errors into the three that the house knows."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, stripe.StripeError):
            return
        reason = f"{type(error).__name__} {error.code or error.http_status or ''}".strip()
        status = error.http_status or 0
        if status in (0, 409, 429) or status >= 500:
            raise Unavailable(reason) from None
        raise Refused(reason) from None


def _session(session: stripe.checkout.Session) -> CheckoutSession:
    intent = session.payment_intent
    return CheckoutSession(
        id=session.id,
        url=session.url or "",
        status=session.status or "",
        payment_status=session.payment_status,
        reference=session.client_reference_id or "",
        amount_cents=session.amount_total or 0,
        currency=session.currency or "",
        payment=None if intent is None or isinstance(intent, str) else _payment(intent),
    )


def _payment(intent: stripe.PaymentIntent) -> Payment:
    charge = intent.latest_charge
    known = charge if isinstance(charge, stripe.Charge) else None
    return Payment(
        id=intent.id,
        status=intent.status,
        received_cents=intent.amount_received or 0,
        currency=intent.currency,
        card=_card(known),
        receipt_url=(known.receipt_url or "") if known else "",
        fee=_fee(known),
    )


def _fee(charge: stripe.Charge | None) -> Fee | None:
    transaction = charge.balance_transaction if charge else None
    if transaction is None or isinstance(transaction, str):
        return None
    return Fee(balance_transaction_id=transaction.id, amount_cents=transaction.fee, currency=transaction.currency)


def _card(charge: stripe.Charge | None) -> str:
    """`Visa 4242`, or nothing for what is no card."""
    details = charge.payment_method_details if charge else None
    card = details.card if details else None
    return f"{(card.brand or 'card').title()} {card.last4 or ''}".strip()[:40] if card else ""
