"""Opens the demo's accounts through the product's own doors: a customer who pays in, staff who fund the deposit.

`python -m sandbox.seed FILE` prints what a newcomer needs and keeps it in FILE for the next start.
"""

import contextlib
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from accounts.models import User

PAY_IN_CENTS = 10_000
LOW_NANO_USD = 20 * 10**9
DEPOSIT_WEI = 2 * 10**18
RESERVE_WEI = 1 * 10**18


def main(path: str) -> None:
    file = Path(path)
    facts = json.loads(file.read_text()) if file.exists() else new_accounts()
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            json.dump(facts, output)
    if "admin2_email" not in facts:
        facts |= second_admin()
        file.write_text(json.dumps(facts))
    record_rates()
    list_orchestrator(os.environ.get("DEMO_ORCHESTRATOR", ""), facts)
    pay_in(facts)
    fund_deposit(facts)
    print(json.dumps(facts))


def new_accounts() -> dict[str, str]:
    """A customer with an owner and an API key, and a member of staff."""
    from django.db import transaction

    from accounts import customers, keys

    facts = {
        "customer_email": "customer@example.com",
        "customer_password": secrets.token_urlsafe(12),
        "admin_email": "admin@example.com",
        "admin_password": secrets.token_urlsafe(12),
    }
    with transaction.atomic():
        owner = person(facts["customer_email"], facts["customer_password"], name="Casey Customer")
        person(facts["admin_email"], facts["admin_password"], name="Ada Admin", is_staff=True, is_superuser=True)
        customer = owner.customers.first() or customers.open_for(owner, name="Northwind Video")
    for lost in customer.api_keys.filter(name="Demo gateways", revoked_at=None):
        keys.revoke(lost, user=owner)
    _, issued = keys.create(customer=customer, user=owner, name="Demo gateways")
    facts["api_key"] = issued.text
    return facts


def second_admin() -> dict[str, str]:
    """Who decides what the first member of staff asks for."""
    facts = {"admin2_email": "admin2@example.com", "admin2_password": secrets.token_urlsafe(12)}
    person(facts["admin2_email"], facts["admin2_password"], name="Sam Second", is_staff=True, is_superuser=True)
    return facts


def record_rates() -> None:
    """The first rates of other currencies; the clock records new ones before they grow old."""
    from billing import fx

    fx.refresh()


def list_orchestrator(address: str, facts: dict[str, str]) -> None:
    """Promotional credit may pay the demo's own orchestrator, until staff take it off the list."""
    from accounts.models import User
    from signing import recipients
    from signing.models import RecipientRule

    if address and not RecipientRule.objects.filter(address=address.lower()).exists():
        recipients.rule(
            address=address,
            standing=RecipientRule.Standing.LISTED,
            label="Demo orchestrator",
            reason="It is the demo's own",
            user=User.objects.get(email=facts["admin_email"]),
        )


def person(email: str, password: str, **fields: Any) -> "User":
    """A verified user with this password; one that an interrupted start left behind is taken over."""
    from allauth.account.models import EmailAddress

    from accounts.models import User

    user = User.objects.filter(email=email).first() or User.objects.create_user(email, **fields)
    user.set_password(password)
    user.save()
    EmailAddress.objects.update_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
    return user


def pay_in(facts: dict[str, str]) -> None:
    """Pays by test card on the provider's page when the wallet is low, and waits for the credit."""
    from accounts.models import User
    from billing import topups
    from billing.models import Wallet

    owner = User.objects.get(email=facts["customer_email"])
    customer = owner.customers.get()

    def available() -> int:
        wallet = Wallet.objects.filter(customer=customer).first()
        return wallet.available_nano_usd if wallet else 0

    if available() >= LOW_NANO_USD:
        return
    before = available()
    top_up = topups.start(customer=customer, user=owner, amount_cents=PAY_IN_CENTS)
    pay(top_up.checkout_url)
    wait_for("the first top-up to be credited", lambda: available() > before)


def pay(page_url: str) -> None:
    """What a browser does on the provider's page: fill in a test card and press Pay."""
    form = {"number": "4242424242424242", "expiry": "12 / 34", "cvc": "123", "email": "customer@example.com"}
    body = urllib.parse.urlencode({**form, "name": "Casey Customer"}).encode()
    with contextlib.suppress(urllib.error.URLError):  # the page we return to asks us to sign in; the payment counts
        urllib.request.urlopen(urllib.request.Request(page_url, data=body), timeout=20)


def fund_deposit(facts: dict[str, str]) -> None:
    """Asks the treasury to fund the deposit and reserve when there is none yet, and waits for the chain."""
    from django.conf import settings

    from accounts.models import User
    from signing.models import TreasuryTransaction
    from signing.treasury import funding

    if TreasuryTransaction.objects.filter(status=TreasuryTransaction.Status.CONFIRMED).exists():
        return
    request = TreasuryTransaction.objects.first() or funding.request(
        sender=settings.SENDER_ADDRESS,
        deposit_wei=DEPOSIT_WEI,
        reserve_wei=RESERVE_WEI,
        user=User.objects.get(email=facts["admin_email"]),
    )

    def settled() -> bool:
        request.refresh_from_db()
        if request.status == TreasuryTransaction.Status.FAILED:
            sys.exit(f"Funding the deposit failed: {request.error}")
        return request.status == TreasuryTransaction.Status.CONFIRMED

    wait_for("the deposit to be funded", settled)


def wait_for(what: str, done: Callable[[], bool], *, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            sys.exit(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(0.2)


if __name__ == "__main__":
    django.setup()
    main(*sys.argv[1:])
