"""The letters about holds: an account that is frozen, and one that works again."""

from django.conf import settings
from django.utils import timezone

from accounts import moments, notices
from accounts.mail import Letter
from accounts.models import Customer, Hold

# The reason itself is written for staff and may tell of others; the letter says what kind it is.
_WHY = {
    Hold.Code.BAD_DEBT: "What this account owed was not paid.",
    Hold.Code.FRAUD: "Something about its payments or cards looks unusual, and a person looks at it.",
}
STILL_WORKS = "You can still sign in and have your statements and documents."


def placed(customer: Customer, *, code: str) -> Letter:
    since = moments.minute(timezone.now())
    end = (
        "The account stays closed for payments. If you want to pay what is owed, write to us."
        if code == Hold.Code.BAD_DEBT
        else "You need not do anything; you get a mail when the hold is lifted."
    )
    return Letter(
        subject="Your account is on hold",
        paragraphs=[
            f"Since {since} UTC no payment of {customer.name} is signed; gateways are answered 402 account_frozen. "
            f"{_WHY.get(Hold.Code(code), 'A person of ours looks at this account.')}",
            f"{STILL_WORKS} Your balance stays as it is: nothing is charged or refunded meanwhile.",
            end,
        ],
        action=("Look at your wallet", wallet_url()),
        small=notices.whom_to_ask(customer),
        why=f"because you own the account {customer.name}.",
    )


def lifted(customer: Customer) -> Letter:
    return Letter(
        subject="Your account is no longer on hold",
        paragraphs=[
            f"Payments of {customer.name} are signed again, as long as there is credit and nothing is owed.",
            "Sessions that ended in the meantime have to be started again.",
        ],
        action=("Look at your wallet", wallet_url()),
        why=f"because you own the account {customer.name}.",
    )


def why_frozen(customer: Customer) -> str:
    """For the account's own pages: what kind of hold stands, what still works, and whom to ask."""
    codes = set(Hold.objects.filter(customer=customer, lifted_at=None).values_list("code", flat=True))
    known = {
        Hold.Code.DISPUTE: "A payment of this account is disputed.",
        Hold.Code.FRAUD_WARNING: "A bank warned that a payment may not be its cardholder’s.",
        **_WHY,
    }
    reason = next((words for code, words in known.items() if code in codes), "A person of ours looks at this account.")
    ask = (
        f" Questions? Write to {settings.SELLER_EMAIL} and name account {customer.pk}." if settings.SELLER_EMAIL else ""
    )
    return f"{reason} Until that is over no payment is signed, and nothing can be paid in or refunded.{ask}"


def wallet_url() -> str:
    return f"{settings.WEB_URL}/wallet/"
