"""The test cards, what each of them does, and what the provider keeps of a payment (pure)."""

import dataclasses
from typing import Literal

type Behaviour = Literal["succeeds", "declines", "asks"]
type Sequel = Literal["", "disputed", "disputed_undelivered", "inquired", "warned"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestCard:
    """One card of the fixed table. `token` is what stands for it in the API; numbers are never stored."""

    __test__ = False

    number: str
    token: str
    brand: str
    behaviour: Behaviour = "succeeds"
    code: str = "card_declined"
    decline_code: str | None = None
    message: str = ""
    country: str = "US"
    funding: str = "credit"
    # Once it was set up for it, the card is charged off session without its holder.
    relieved_by_setup: bool = False
    # The bank asks its holder only where the merchant requests it.
    asks_on_request: bool = False
    # It can be saved, and declines when it is charged.
    can_be_saved: bool = False
    sequel: Sequel = ""
    refund: Literal["", "pends", "fails"] = ""
    # Its money can be paid out at once.
    available_at_once: bool = False


CARDS = (
    TestCard(number="4242424242424242", token="pm_card_visa", brand="visa"),
    TestCard(number="5555555555554444", token="pm_card_mastercard", brand="mastercard"),
    TestCard(number="4000000000000077", token="pm_card_bypassPending", brand="visa", available_at_once=True),
    TestCard(
        number="4000000000000002",
        token="pm_card_visa_chargeDeclined",
        brand="visa",
        behaviour="declines",
        decline_code="generic_decline",
        message="Your card was declined.",
    ),
    TestCard(
        number="4000000000009995",
        token="pm_card_visa_chargeDeclinedInsufficientFunds",
        brand="visa",
        behaviour="declines",
        decline_code="insufficient_funds",
        message="Your card has insufficient funds.",
    ),
    TestCard(
        number="4000000000000069",
        token="pm_card_chargeDeclinedExpiredCard",
        brand="visa",
        behaviour="declines",
        code="expired_card",
        message="Your card has expired.",
    ),
    TestCard(
        number="4000002500003155",
        token="pm_card_authenticationRequiredOnSetup",
        brand="visa",
        behaviour="asks",
        relieved_by_setup=True,
    ),
    TestCard(number="4000000000003220", token="pm_card_threeDSecure2Required", brand="visa", behaviour="asks"),
    TestCard(number="4000000000003055", token="pm_card_threeDSecureOptional", brand="visa", asks_on_request=True),
    TestCard(
        number="4000000000000341",
        token="pm_card_chargeCustomerFail",
        brand="visa",
        behaviour="declines",
        decline_code="generic_decline",
        message="Your card was declined.",
        can_be_saved=True,
    ),
    TestCard(
        number="4000000000009987",
        token="pm_card_visa_chargeDeclinedLostCard",
        brand="visa",
        behaviour="declines",
        decline_code="lost_card",
        message="Your card was declined.",
    ),
    TestCard(
        number="4000000000006975",
        token="pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        brand="visa",
        behaviour="declines",
        decline_code="card_velocity_exceeded",
        message="Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    TestCard(
        number="4000000000000119",
        token="pm_card_chargeDeclinedProcessingError",
        brand="visa",
        behaviour="declines",
        code="processing_error",
        message="An error occurred while processing your card. Try again in a little bit.",
    ),
    TestCard(number="4000002760000016", token="pm_card_de", brand="visa", country="DE"),
    TestCard(number="4000008260000000", token="pm_card_gb", brand="visa", country="GB"),
    TestCard(number="4000002760003184", token="pm_card_authenticationRequired", brand="visa", behaviour="asks"),
    TestCard(number="4000000000000259", token="pm_card_createDispute", brand="visa", sequel="disputed"),
    TestCard(
        number="4000000000002685",
        token="pm_card_createDisputeProductNotReceived",
        brand="visa",
        sequel="disputed_undelivered",
    ),
    TestCard(number="4000000000001976", token="pm_card_createDisputeInquiry", brand="visa", sequel="inquired"),
    TestCard(number="4000000000005423", token="pm_card_createIssuerFraudRecord", brand="visa", sequel="warned"),
    TestCard(number="4000000000007726", token="pm_card_pendingRefund", brand="visa", refund="pends"),
    TestCard(number="4000000000005126", token="pm_card_refundFail", brand="visa", refund="fails"),
)
BY_NUMBER = {card.number: card for card in CARDS}
BY_TOKEN = {card.token: card for card in CARDS}

# Smallest amount a card may be charged, in minor units.
LEAST_MINOR = {"usd": 50, "eur": 50, "gbp": 30}
MOST_MINOR = 99_999_999
DISPUTE_FEE_MINOR = 1_500
REFERENCE_DIGITS = 12
AVAILABLE_AFTER_SECONDS = 2 * 24 * 3600
DIGITS = str.maketrans("", "", " -\u00a0")


class CardRefused(Exception):
    """What was typed on the page cannot be a test card."""


def card_fee(amount_minor: int) -> int:
    """2.9 % rounded half up, plus 30 minor units; never more than the amount itself."""
    return min(amount_minor, (amount_minor * 29 + 500) // 1000 + 30)


def read_card(*, number: str, expiry: str, cvc: str, year: int, month: int) -> tuple[TestCard, int, int]:
    """The test card behind the typed fields with its expiry (month, year); raises CardRefused."""
    digits = number.translate(DIGITS)
    card = BY_NUMBER.get(digits)
    if card is None:
        raise CardRefused("Only the listed test cards work here. Never type a real card number.")
    first, _, second = expiry.replace(" ", "").partition("/")
    if not (first.isascii() and first.isdecimal() and second.isascii() and second.isdecimal()):
        raise CardRefused("The expiry date must look like 12 / 34.")
    exp_month, exp_year = int(first), int(second) % 2000 + 2000
    if not 1 <= exp_month <= 12:
        raise CardRefused("The expiry month must be from 01 to 12.")
    if (exp_year, exp_month) < (year, month):
        raise CardRefused("The expiry date is in the past.")
    if not (cvc.isascii() and cvc.isdecimal() and 3 <= len(cvc) <= 4):
        raise CardRefused("The security code has three digits.")
    return card, exp_month, exp_year
