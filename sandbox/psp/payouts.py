"""Payouts: from the balance to the merchant's bank, by hand or by the clock every day; a bank may send one back."""

import datetime
from typing import Any

from sandbox.psp import balance, events, params, reading
from sandbox.psp.errors import JSON, ApiError, wrong_state
from sandbox.psp.world import Call, World, new_id

SPEC: params.Spec = {
    "amount": params.integer(least=1),
    "currency": params.currency,
    "description": params.string(),
    "metadata": params.metadata,
    "method": params.one_of("standard", "instant"),
    "statement_descriptor": params.string(22),
}
# Why a bank sends a payout back, in the words of the API.
FAILURES = {
    "account_closed": "The bank account has been closed.",
    "could_not_process": "The bank could not process this payout.",
    "no_account": "The bank account details on file are probably incorrect.",
}
TAKES_SECONDS = 24 * 3600


def create(call: Call) -> JSON:
    given = params.read(call.params, SPEC, required=("amount", "currency"))
    amount, currency = given["amount"], given["currency"]
    if amount > balance.available(call.world).get(currency, 0):
        raise ApiError(
            "You have insufficient funds in your Stripe account for this transfer.",
            code="balance_insufficient",
            executed=True,
        )
    payout = add(call.world, amount=amount, currency=currency, automatic=False, given=given)
    return reading.show(call.world, payout, call.expand)


def add(world: World, *, amount: int, currency: str, automatic: bool, given: dict[str, Any]) -> JSON:
    """The payout with its balance transaction, on its way to the bank from now on."""
    id, now = new_id("po_"), world.now()
    takes = float(world.store.setting("payout_takes_seconds", TAKES_SECONDS))
    description = given.get("description") or ("STRIPE PAYOUT" if automatic else None)
    transaction = balance.add(
        world, category="payout", source=id, amount=-amount, currency=currency, description=description
    )
    payout = {
        "id": id,
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": now + int(takes),
        "automatic": automatic,
        "balance_transaction": transaction["id"],
        "created": now,
        "currency": currency,
        "description": description,
        "destination": "ba_sandbox",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "method": given.get("method") or "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed" if automatic else "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": given.get("statement_descriptor"),
        "status": "pending",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
    world.store.insert(payout)
    if automatic:
        balance.assign(world, payout_id=id, currency=currency)
    events.emit(world, "payout.created", payout)
    world.schedule(due=world.exact_now() + takes, kind="payout_arrives", subject=id)
    return payout


def update(call: Call) -> JSON:
    given = params.read(call.params, {"metadata": params.metadata})
    payout = call.world.need("payout", call.id)
    changed = payout | {"metadata": params.merge_metadata(payout["metadata"], given.get("metadata"))}
    return reading.show(call.world, _save(call.world, payout, changed, "payout.updated"), call.expand)


def cancel(call: Call) -> JSON:
    params.read(call.params, {})
    payout = call.world.need("payout", call.id)
    if payout["status"] != "pending" or payout["automatic"]:
        raise wrong_state("Payouts can only be canceled if they are manual and pending.")
    return reading.show(call.world, _back(call.world, payout, "canceled", "payout_cancel", {}), call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("payout", call)


def index(call: Call) -> JSON:
    return reading.page("payout", call, url="/v1/payouts", filters={"status": params.string()})


def retrieve_balance(call: Call) -> JSON:
    """What may be paid out now and what follows, by currency."""
    params.read(call.params, {})
    now, later = balance.available(call.world), balance.pending(call.world)
    return {
        "object": "balance",
        "available": _amounts(now),
        "livemode": False,
        "pending": _amounts(later | dict.fromkeys(now.keys() - later.keys(), 0)),
    }


def arrive(world: World, payout_id: str) -> None:
    """The bank has it, unless it failed or was canceled on the way."""
    payout = world.need("payout", payout_id)
    if payout["status"] == "pending":
        trace = {"status": "supported", "value": f"TRACE{payout_id[-10:].upper()}"}
        _save(world, payout, payout | {"status": "paid", "trace_id": trace}, "payout.paid")


def fail(world: World, payout_id: str, code: str) -> JSON:
    """The bank sends it back, also days after it was paid; the money stands on the balance again."""
    payout = world.need("payout", payout_id)
    if code not in FAILURES:
        raise ApiError(f"No such failure code: {code}", param="code")
    if payout["status"] not in ("pending", "paid"):
        raise wrong_state(f"Payout {payout_id} is {payout['status']}.")
    why = {"failure_code": code, "failure_message": FAILURES[code]}
    return _back(world, payout, "failed", "payout_failure", why)


def move(world: World, payout_id: str, given: JSON) -> JSON:
    """The knob: `{"status": "paid"}` now, or `{"status": "failed", "code": "no_account"}`."""
    match given.get("status"):
        case "paid":
            arrive(world, payout_id)
        case "failed":
            fail(world, payout_id, str(given.get("code", "could_not_process")))
        case _:
            raise ApiError("status must be paid or failed.", param="status")
    return reading.show(world, world.need("payout", payout_id))


def take_fee(world: World, given: JSON) -> JSON:
    """The knob: a fee for the account itself, such as a monthly one, that belongs to no charge."""
    amount, words = given.get("amount"), str(given.get("description", "Radar for the month"))
    if not isinstance(amount, int) or amount < 1:
        raise ApiError("amount must be whole minor units, at least 1.", param="amount")
    currency = params.currency(given.get("currency", "usd"), "currency")
    return balance.add(world, category="fee", source=None, amount=-amount, currency=currency, description=words)


def plan(world: World) -> None:
    """With `automatic_payouts` on, the next day's payout is on the agenda exactly once."""
    waiting = world.store.db.execute("SELECT 1 FROM agenda WHERE kind = 'daily_payout'").fetchone()
    if world.store.setting("automatic_payouts", False) and waiting is None:
        today = datetime.datetime.fromtimestamp(world.now(), datetime.UTC).date()
        midnight = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
        world.schedule(due=midnight.timestamp(), kind="daily_payout", subject="")


def pay_out_daily(world: World, _: str) -> None:
    """All that is available, one payout a currency; a balance below zero waits."""
    if not world.store.setting("automatic_payouts", False):
        return
    for currency, amount in balance.available(world).items():
        if amount > 0:
            add(world, amount=amount, currency=currency, automatic=True, given={})
    plan(world)


def _back(world: World, payout: JSON, status: str, category: balance.Category, why: JSON) -> JSON:
    transaction = balance.add(
        world,
        category=category,
        source=payout["id"],
        amount=payout["amount"],
        currency=payout["currency"],
        description="Payout that came back",
    )
    changed = payout | why | {"status": status, "failure_balance_transaction": transaction["id"]}
    return _save(world, payout, changed, f"payout.{status}")


def _save(world: World, payout: JSON, changed: JSON, event_type: str) -> JSON:
    previous = {name: payout[name] for name, value in changed.items() if payout[name] != value}
    if previous:
        world.store.save(changed)
        events.emit(world, event_type, changed, previous=previous)
    return changed


def _amounts(by_currency: dict[str, int]) -> list[JSON]:
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted(by_currency.items())
    ]
