"""Refunds: money back to the card of a charge, in parts if wished, never more than was paid."""

from typing import Any

from sandbox.psp import balance, cards, events, params, payment_methods, reading
from sandbox.psp.errors import JSON, ApiError, invalid, missing, wrong_state
from sandbox.psp.world import Call, World, new_id

SPEC: params.Spec = {
    "amount": params.integer(least=1),
    "charge": params.string(),
    "metadata": params.metadata,
    "payment_intent": params.string(),
    "reason": params.one_of("duplicate", "fraudulent", "requested_by_customer"),
}


def create(call: Call) -> JSON:
    given = params.read(call.params, SPEC)
    charge = _charge(call.world, given)
    left = charge["amount"] - charge["amount_refunded"]
    amount = left if given.get("amount") is None else given["amount"]
    if not charge["paid"]:
        raise wrong_state(f"Charge {charge['id']} was not paid and cannot be refunded.", param="charge")
    if charge["_disputed"]:
        raise wrong_state(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if left == 0:
        raise wrong_state(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount > left:
        raise ApiError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
            param="amount",
            executed=True,
        )
    return reading.show(call.world, add(call.world, charge, amount, given), call.expand)


def update(call: Call) -> JSON:
    given = params.read(call.params, {"metadata": params.metadata})
    refund = call.world.need("refund", call.id)
    changed = refund | {"metadata": params.merge_metadata(refund["metadata"], given.get("metadata"))}
    return reading.show(call.world, _save(call.world, refund, changed), call.expand)


def cancel(call: Call) -> JSON:
    """As at Stripe: only what waits for the customer can be canceled, and a card's refund never does."""
    params.read(call.params, {})
    refund = call.world.need("refund", call.id)
    raise wrong_state(f"This refund's status is {refund['status']}; only requires_action can be canceled.")


def retrieve(call: Call) -> JSON:
    return reading.retrieve("refund", call)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"charge": params.string(), "payment_intent": params.string()}
    return reading.page("refund", call, url="/v1/refunds", filters=filters)


def add(world: World, charge: JSON, amount: int, given: dict[str, Any]) -> JSON:
    """The refund, out of the balance at once; some test cards let it wait or fail a moment later."""
    method = world.need("payment_method", charge["payment_method"])
    moves = payment_methods.behaviour(method).refund if method["type"] == "card" else ""
    id = new_id("re_")
    pending = moves == "pends"
    refund = {
        "id": id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "destination_details": _destination(pending=pending),
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "reason": given.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }
    transaction = balance.add(
        world,
        category="refund",
        source=id,
        amount=-amount,
        currency=charge["currency"],
        description=f"REFUND FOR CHARGE {charge['id']}",
    )
    refund = world.store.insert(refund | {"balance_transaction": transaction["id"]})
    events.emit(world, "refund.created", refund)
    _refunded(world, charge, charge["amount_refunded"] + amount, event="charge.refunded")
    if moves:
        due = world.exact_now() + float(world.store.setting("refund_moves_after_seconds", 0.5))
        world.schedule(due=due, kind=f"refund_{moves}", subject=id)
    return refund


def succeed(world: World, refund_id: str) -> JSON:
    refund = world.need("refund", refund_id)
    if refund["status"] != "pending":
        return refund
    done = {"status": "succeeded", "destination_details": _destination(pending=False)}
    return _save(world, refund, refund | done)


def fail(world: World, refund_id: str, *, reason: str = "expired_or_canceled_card") -> JSON:
    """The bank sent the money back, which may happen days after the refund had succeeded."""
    return _give_back(world, world.need("refund", refund_id), {"status": "failed", "failure_reason": reason})


def move(world: World, refund_id: str, given: JSON) -> JSON:
    """The knob: the refund becomes succeeded, failed or canceled by itself."""
    refund = world.need("refund", refund_id)
    match given.get("status"):
        case "succeeded":
            return reading.show(world, succeed(world, refund_id))
        case "failed":
            return reading.show(world, fail(world, refund_id, reason=str(given.get("reason", "unknown"))))
        case "canceled" if refund["status"] == "pending":
            return reading.show(world, _give_back(world, refund, {"status": "canceled"}))
    raise invalid(f"A {refund['status']} refund cannot become {given.get('status')!r}.", param="status")


def _give_back(world: World, refund: JSON, end: JSON) -> JSON:
    if refund["status"] in ("failed", "canceled"):
        return refund
    transaction = balance.add(
        world,
        category="refund_failure",
        source=refund["id"],
        amount=refund["amount"],
        currency=refund["currency"],
        description=f"REFUND FAILURE ({refund['id']})",
    )
    changed = refund | end | {"failure_balance_transaction": transaction["id"]}
    ended = _save(world, refund, changed)
    charge = world.need("charge", refund["charge"])
    _refunded(world, charge, charge["amount_refunded"] - refund["amount"], event="charge.updated")
    if ended["status"] == "failed":
        events.emit(world, "refund.failed", ended)
    return ended


def _refunded(world: World, charge: JSON, amount: int, *, event: str) -> None:
    changes = {"amount_refunded": amount, "refunded": amount == charge["amount"]}
    previous = {name: charge[name] for name in changes}
    events.emit(world, event, world.store.save(charge | changes), previous=previous)


def _save(world: World, refund: JSON, changed: JSON) -> JSON:
    previous = {name: refund.get(name) for name, value in changed.items() if refund.get(name) != value}
    world.store.save(changed)
    for event in ("refund.updated", "charge.refund.updated"):
        events.emit(world, event, changed, previous=previous)
    return changed


def _charge(world: World, given: dict[str, Any]) -> JSON:
    """The charge named, or the one that paid the intent named."""
    if given.get("charge"):
        charge = world.need("charge", given["charge"], param="charge")
    elif given.get("payment_intent"):
        intent = world.need("payment_intent", given["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            raise wrong_state(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
        charge = world.need("charge", intent["latest_charge"])
    else:
        raise missing("charge")
    return {"_disputed": False} | charge


def _destination(*, pending: bool) -> JSON:
    """Where the money goes: back to the card, traceable there once the bank has a reference."""
    card = {
        "reference_status": "pending" if pending else "available",
        "reference_type": "acquirer_reference_number",
        "type": "pending" if pending else "refund",
    }
    known = {} if pending else {"reference": new_id("", cards.REFERENCE_DIGITS).upper()}
    return {"card": card | known, "type": "card"}
