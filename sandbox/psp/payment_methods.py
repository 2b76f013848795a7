"""Payment methods: a test card or account as the API shows it, made from a typed number or a `pm_...` token."""

from typing import Any

from sandbox.psp import bank_accounts, cards, events, params, reading
from sandbox.psp.errors import JSON, invalid, no_such, wrong_state
from sandbox.psp.world import Call, World, new_id

KINDS = params.one_of("card", "sepa_debit", "us_bank_account")


def add(world: World, card: cards.TestCard, *, exp_month: int, exp_year: int, billing: JSON | None = None) -> JSON:
    """Keeps what the card does under its token; the number itself is forgotten here."""
    shown = {
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
    }
    return _insert(world, "card", shown, token=card.token, billing=billing)


def add_account(world: World, account: bank_accounts.TestAccount, *, billing: JSON | None = None) -> JSON:
    shown: JSON = {
        "bank_name": account.bank,
        "country": account.country,
        "fingerprint": account.token.replace("pm_", "")[:16].ljust(16, "0"),
        "last4": account.number[-4:],
    }
    return _insert(world, account.kind, shown, token=account.token, billing=billing)


def resolve(world: World, id: str, *, param: str) -> JSON:
    """The stored method, or a fresh one when the id is a test token."""
    if (card := cards.BY_TOKEN.get(id)) is not None:
        return add(world, card, exp_month=12, exp_year=2034)
    if (account := bank_accounts.BY_TOKEN.get(id)) is not None:
        return add_account(world, account)
    found = world.store.find(id, "payment_method")
    if found is None:
        raise no_such("PaymentMethod", id, param=param)
    return found


def check_usable(method: JSON, customer: str | None, *, param: str) -> None:
    """A method belongs to one customer for good; what was detached is never used again."""
    if method.get("_detached"):
        raise invalid("This PaymentMethod was detached from a Customer and may not be used again.", param=param)
    if method["customer"] not in (None, customer):
        raise invalid("This PaymentMethod belongs to another Customer, or the customer is missing.", param=param)


def attach_to(world: World, method: JSON, customer: str, *, set_up: bool = False) -> JSON:
    """Gives the method to the customer; `set_up` says that it may be charged off session from now on."""
    fresh = method["customer"] is None
    kept = world.store.save(method | {"customer": customer, "_set_up": method.get("_set_up", False) or set_up})
    if fresh:
        events.emit(world, "payment_method.attached", kept)
    return kept


def behaviour(method: JSON) -> cards.TestCard:
    return cards.BY_TOKEN[method["_token"]]


def account_of(method: JSON) -> bank_accounts.TestAccount:
    return bank_accounts.BY_TOKEN[method["_token"]]


def retrieve(call: Call) -> JSON:
    return reading.retrieve("payment_method", call)


def update(call: Call) -> JSON:
    given = params.read(call.params, {"metadata": params.metadata})
    method = call.world.need("payment_method", call.id)
    method["metadata"] = params.merge_metadata(method["metadata"], given.get("metadata"))
    return reading.show(call.world, call.world.store.save(method), call.expand)


def attach(call: Call) -> JSON:
    given = params.read(call.params, {"customer": params.string()}, required=("customer",))
    customer = call.world.need("customer", given["customer"], param="customer")
    method = resolve(call.world, call.id, param="id")
    check_usable(method, customer["id"], param="payment_method")
    return reading.show(call.world, attach_to(call.world, method, customer["id"]), call.expand)


def detach(call: Call) -> JSON:
    params.read(call.params, {})
    method = call.world.need("payment_method", call.id)
    if method["customer"] is None:
        raise wrong_state("The payment method you provided is not attached to a customer so detachment is impossible.")
    gone = call.world.store.save(method | {"customer": None, "_detached": True})
    events.emit(call.world, "payment_method.detached", gone, previous={"customer": method["customer"]})
    return reading.show(call.world, gone, call.expand)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"customer": params.string(), "type": KINDS}
    return reading.page("payment_method", call, url="/v1/payment_methods", filters=filters)


def index_of_customer(call: Call) -> JSON:
    call.world.need("customer", call.id)
    call.params["customer"] = call.id
    return index(call)


def _insert(world: World, kind: str, shown: dict[str, Any], *, token: str, billing: JSON | None) -> JSON:
    details = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None} | (billing or {})
    method = {
        "id": new_id("pm_"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": details,
        kind: shown,
        "created": world.now(),
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        "_token": token,
        "_set_up": False,
        "_detached": False,
    }
    return world.store.insert(method)
