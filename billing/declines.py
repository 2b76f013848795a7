"""Why a card was not charged, in words that help its holder; pure."""

_BANK = "Your bank declined the payment and did not say why. Ask it, or use another card."
_WORDS = {
    "authentication_required": "Your bank wants you to confirm it yourself. Top up once by hand with this card.",
    "approve_with_id": _BANK,
    "call_issuer": _BANK,
    "card_declined": _BANK,
    "card_not_supported": "This card does not allow payments of this kind. Use another card.",
    "card_velocity_exceeded": "This card has reached its limit for now. Wait a while, or use another card.",
    "currency_not_supported": "This card cannot be charged in this currency. Choose another currency or card.",
    "debit_not_authorized": "Your bank sent the direct debit back: it was not authorized.",
    "do_not_honor": _BANK,
    "duplicate_transaction": "Your bank takes this for a payment that was made a moment ago. Wait a while.",
    "expired_card": "This card has expired. Remove it and use another one.",
    "fraudulent": _BANK,
    "generic_decline": _BANK,
    "incorrect_cvc": "The security code of this card is wrong. Save the card again.",
    "incorrect_number": "The number of this card is wrong. Save the card again.",
    "insufficient_funds": "There is not enough money behind this card. Choose a smaller amount or another card.",
    "invalid_account": "This card or its account is not valid any more. Use another card.",
    "invalid_amount": "Your bank does not allow this amount. Choose a smaller one.",
    "issuer_not_available": "Your bank could not be reached. Try again later.",
    "lost_card": _BANK,
    "payment_intent_authentication_failure": "Your bank could not confirm that it was you. Try again.",
    "pickup_card": _BANK,
    "processing_error": "Something went wrong while your bank was asked. Try again later.",
    "reenter_transaction": "Something went wrong while your bank was asked. Try again later.",
    "stolen_card": _BANK,
    "try_again_later": "Your bank could not be reached. Try again later.",
    "withdrawal_count_limit_exceeded": "This card has reached its limit for now. Wait a while, or use another card.",
}


def words(code: str) -> str:
    """One or two sentences for a code of the provider; a card reported lost or stolen is not told apart from others."""
    return _WORDS.get(code, _BANK)
