"""Money of a payment that moved on our balance in another currency than it was paid in: the difference is booked."""

from django.utils import timezone

from billing import fx, ledger, postings
from billing.models import TopUp


def worth(cents: int, currency: str) -> int:
    """Nano-dollars of an amount that has moved, at the newest recorded rate. Raises fx.RateMissing."""
    rate = None if currency == fx.USD else fx.latest_now(currency)
    if rate is None and currency != fx.USD:
        raise fx.RateMissing(currency)
    return fx.nano_usd(cents, rate)


def exchanged(*, top_up: TopUp, reference: str, nano_usd: int, moved_cents: int, currency: str) -> None:
    """Where the balance of the payment's currency was booked to move by `nano_usd`, that of `currency` moved.

    Both are negative where money left. Call it in the transaction of that booking, once. Raises fx.RateMissing.
    """
    there = worth(moved_cents, currency)
    paid_in = (top_up.currency, abs(nano_usd))
    old, new = ((currency, abs(there)), paid_in) if nano_usd < 0 else (paid_in, (currency, abs(there)))
    ledger.book(
        kind="exchange",
        reference=reference,
        occurred_at=timezone.now(),
        transfers=postings.exchange(
            from_currency=old[0], carried_nano_usd=old[1], to_currency=new[0], arrived_nano_usd=new[1]
        ),
        description=f"Top-up {top_up.id} moved in {currency.upper()}",
    )
