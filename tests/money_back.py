"""Payments at the sandbox provider with their rows and journals here, for stories of what comes after."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stripe
from django.utils import timezone

from accounts.models import Customer
from billing import check_books, inbox, ledger, postings, refunds
from billing.models import FxRate, Refund, RefundPart, StripeEvent, TopUp, Wallet
from sandbox.psp.client import Psp, running_psp
from tests import builders

NANO = 10**9


@contextmanager
def provider(directory: Path, web_url: str, settings: Any) -> Iterator[Psp]:
    """A provider of this test alone, whose events come to the real webhook; nothing there takes its time."""
    with running_psp(directory, webhook_url=f"{web_url}/stripe/webhook") as running:
        running.settings(settle_after_seconds=0, refund_moves_after_seconds=0.2, verdict_after_seconds=0)
        settings.STRIPE_API_BASE = running.url
        settings.STRIPE_SECRET_KEY = running.secret_key
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_sandbox"]
        settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
        yield running


def ask(psp: Psp) -> stripe.StripeClient:
    http_client: Any = stripe.RequestsClient()
    return stripe.StripeClient(psp.secret_key, base_addresses={"api": psp.url}, http_client=http_client)


def pay(
    psp: Psp,
    payer: Customer,
    net_cents: int,
    *,
    taxes: dict[str, int] | None = None,
    card: str = "pm_card_visa",
    currency: str = "usd",
    nano_usd_per_cent: int = 10**7,
) -> TopUp:
    """A payment that was charged there, and credited and booked here with its fee."""
    tax_cents = sum((taxes or {}).values())
    client, top_up_id = ask(psp), uuid.uuid4()
    intent = client.v1.payment_intents.create(
        {
            "amount": net_cents + tax_cents,
            "currency": currency,
            "payment_method": card,
            "confirm": True,
            "metadata": {"top_up": str(top_up_id)},
        }
    )
    charge = str(intent.latest_charge)
    [settled] = until(lambda: client.v1.balance_transactions.list({"source": charge}).data)
    rate = None if currency == "usd" else FxRate.objects.create(currency=currency, nano_usd_per_cent=nano_usd_per_cent)
    top_up = TopUp.objects.create(
        id=top_up_id,
        customer=payer,
        created_by=payer.members.get(),
        amount_cents=net_cents,
        net_cents=net_cents,
        tax_cents=tax_cents,
        total_cents=net_cents + tax_cents,
        tax_parts=taxes or {},
        currency=currency,
        fx_rate=rate,
        credit_nano_usd=net_cents * nano_usd_per_cent,
        status=TopUp.Status.PAID,
        payment_intent_id=intent.id,
        charge_id=charge,
        card="Visa 4242",
        balance_transaction_id=settled.id,
        fee_cents=settled.fee,
        settled_at=timezone.now(),
    )
    ledger.credit(
        customer_id=payer.pk,
        amount_nano_usd=net_cents * nano_usd_per_cent,
        kind="top_up",
        reference=f"stripe:{intent.id}",
        occurred_at=timezone.now(),
        transfers=postings.top_up(
            customer_id=payer.pk,
            gross_nano_usd=(net_cents + tax_cents) * nano_usd_per_cent,
            tax_nano_usd={place: cents * nano_usd_per_cent for place, cents in (taxes or {}).items()},
            currency=currency,
        ),
    )
    ledger.book(
        kind="provider_fee",
        reference=f"stripe:{settled.id}:fee",
        occurred_at=timezone.now(),
        transfers=postings.provider_fee(fee_nano_usd=settled.fee * nano_usd_per_cent, currency=currency),
    )
    return top_up


def spend(payer: Customer, nano_usd: int) -> None:
    """Usage that costs exactly so much: at 3,000 dollars an ether and no markup, a nano-dollar is 1e9 / 3,000 wei."""
    builders.debit(payer, cost_wei=nano_usd * 10**6 // 3, markup_bps=0)


def books(number: int, party: str = "") -> int:
    """Debits minus credits of an account in nano-dollars."""
    return ledger.balance(number, "USD", party)


def available(payer: Customer) -> int:
    return sum(Wallet.objects.filter(customer=payer).values_list("available_nano_usd", flat=True))


def debt(payer: Customer) -> int:
    return sum(Wallet.objects.filter(customer=payer).values_list("debt_nano_usd", flat=True))


def booked_well(psp: Psp) -> None:
    """Every invariant is 0, and what we think the provider owes us is what it says, to the cent."""
    assert {name: figure for name, figure in check_books.invariants().items() if figure} == {}
    dollars = ask(psp).v1.balance_transactions.list({"limit": 100, "currency": "usd"})
    net = sum(row.net for row in dollars.auto_paging_iter())
    assert books(postings.STRIPE_BALANCE) == net * 10**7


def until[T](look: Callable[[], T], *, seconds: float = 15) -> T:
    """What `look` finds once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def handle_events(psp: Psp) -> None:
    """Waits for every event that the provider has to tell, and handles all."""
    until(lambda: not psp.state()["deliveries"].get("pending"))
    StripeEvent.objects.filter(handled_at=None).update(not_before=timezone.now())
    inbox.handle_waiting()


def want(payer: Customer, nano_usd: int, refund_id: uuid.UUID | None = None) -> Refund:
    """A refund that the payer asks for."""
    return refunds.request(
        customer=payer,
        user=payer.members.get(),
        amount_nano_usd=nano_usd,
        reason="Done with the project",
        refund_id=refund_id or uuid.uuid4(),
    )


def go_on() -> None:
    """The worker's clock, without its pauses."""
    RefundPart.objects.update(checked_at=None)
    refunds.work()
