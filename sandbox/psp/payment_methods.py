"""Payment methods: a test card as the API shows it, made from a typed number or a `pm_card_...` token."""

from sandbox.psp import cards, reading
from sandbox.psp.errors import JSON, no_such
from sandbox.psp.world import Call, World, new_id


def add(world: World, card: cards.TestCard, *, exp_month: int, exp_year: int, billing: JSON | None = None) -> JSON:
    """Keeps what the card does under its token; the number itself is forgotten here."""
    details = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None} | (billing or {})
    method = {
        "id": new_id("pm_"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": details,
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": card.token.replace("pm_card_", "")[:16].ljust(16, "0"),
            "funding": card.funding,
            "generated_from": None,
            "last4": card.number[-4:],
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": world.now(),
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_token": card.token,
    }
    return world.store.insert(method)


def resolve(world: World, id: str, *, param: str) -> JSON:
    """The stored method, or a fresh one when the id is a test token."""
    card = cards.BY_TOKEN.get(id)
    if card is not None:
        return add(world, card, exp_month=12, exp_year=2034)
    found = world.store.find(id, "payment_method")
    if found is None:
        raise no_such("PaymentMethod", id, param=param)
    return found


def behaviour(method: JSON) -> cards.TestCard:
    return cards.BY_TOKEN[method["_token"]]


def retrieve(call: Call) -> JSON:
    return reading.retrieve("payment_method", call)
