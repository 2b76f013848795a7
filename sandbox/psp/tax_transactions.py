"""What was recorded of tax: transactions made of calculations, and their reversals, each reference once."""

from fractions import Fraction
from typing import Any

from sandbox.psp import params, reading
from sandbox.psp.errors import JSON, invalid
from sandbox.psp.world import Call, World, new_id

TAX_CODE = "txcd_10000000"


def record(call: Call) -> JSON:
    """Tells that what was calculated has been collected, once for each reference."""
    spec: params.Spec = {
        "calculation": params.string(),
        "reference": params.string(500),
        "metadata": params.metadata,
        "posted_at": params.integer(),
    }
    given = params.read(call.params, spec, required=("calculation", "reference"))
    calculation = call.world.need("tax.calculation", given["calculation"], param="calculation")
    if call.world.now() > calculation["expires_at"]:
        raise invalid("This calculation has expired.", param="calculation")
    lines = [
        {"amount": amount, "amount_tax": tax, "reference": reference, "original_line_item": None}
        for amount, tax, reference in calculation["_lines"]
    ]
    return _recorded(call, given, calculation, kind="transaction", lines=lines, reversal=None)


def reverse(call: Call) -> JSON:
    """Takes back a recorded transaction: whole, by line items, or by `flat_amount` (tax included); amounts negative."""
    item: params.Spec = {
        "amount": params.integer(least=-(2**53)),
        "amount_tax": params.integer(least=-(2**53)),
        "metadata": params.metadata,
        "original_line_item": params.string(),
        "quantity": params.integer(),
        "reference": params.string(500),
    }
    spec: params.Spec = {
        "flat_amount": params.integer(least=-(2**53)),
        "line_items": params.array(
            params.nested(item, required=("amount", "amount_tax", "original_line_item", "reference"))
        ),
        "metadata": params.metadata,
        "mode": params.one_of("full", "partial"),
        "original_transaction": params.string(),
        "reference": params.string(500),
    }
    given = params.read(call.params, spec, required=("mode", "original_transaction", "reference"))
    original = call.world.need("tax.transaction", given["original_transaction"], param="original_transaction")
    if original["type"] != "transaction":
        raise invalid("Only a transaction can be reversed.", param="original_transaction")
    left = {line["id"]: _left_of(call.world, original, line) for line in original["_line_items"]}
    if given["mode"] == "full":
        lines = [_back(line, *left[line["id"]], given["reference"]) for line in original["_line_items"]]
    elif given.get("line_items"):
        lines = [
            {name: row[name] for name in ("amount", "amount_tax", "reference", "original_line_item")}
            for row in given["line_items"]
        ]
    else:
        lines = _flat(original, left, given)
    for line in lines:
        amount, tax = left.get(line["original_line_item"], (-1, -1))
        if not (0 <= -line["amount"] <= amount and 0 <= -line["amount_tax"] <= tax):
            raise invalid("A reversal is negative and at most what is left of its line.", param="line_items")
    reversal = {"original_transaction": original["id"]}
    return _recorded(call, given, original, kind="reversal", lines=lines, reversal=reversal)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("tax.transaction", call, param="transaction")


def list_lines(call: Call) -> JSON:
    params.read(call.params, {"limit": params.integer(least=1, most=100)})
    found = call.world.need("tax.transaction", call.id, param="transaction")
    return reading.whole_list(found["_line_items"], f"/v1/tax/transactions/{call.id}/line_items")


def _left_of(world: World, original: JSON, line: JSON) -> tuple[int, int]:
    """What of a line no reversal took back: amount and tax."""
    where = " AND json_extract(body, '$.reversal.original_transaction') = ?"
    amount, tax = line["amount"], line["amount_tax"]
    for reversal in world.store.select("tax.transaction", where, [original["id"]], newest_first=False, limit=10_000):
        for back in reversal["_line_items"]:
            if back["reversal"]["original_line_item"] == line["id"]:
                amount, tax = amount + back["amount"], tax + back["amount_tax"]
    return amount, tax


def _back(line: JSON, amount: int, tax: int, reference: str) -> JSON:
    return {"amount": -amount, "amount_tax": -tax, "reference": reference, "original_line_item": line["id"]}


def _flat(original: JSON, left: dict[str, tuple[int, int]], given: JSON) -> list[JSON]:
    """One amount over all lines, each in proportion to what is left of it."""
    back = given.get("flat_amount")
    whole = sum(amount + tax for amount, tax in left.values())
    if back is None or back >= 0 or -back > whole:
        raise invalid("A reversal is negative and at most what is left of the transaction.", param="flat_amount")
    lines, rest = [], -back
    for line in original["_line_items"]:
        amount, tax = left[line["id"]]
        part = int(Fraction(rest * (amount + tax), whole) + Fraction(1, 2)) if whole else 0
        tax_part = int(Fraction(part * tax, amount + tax) + Fraction(1, 2)) if amount + tax else 0
        lines.append(_back(line, part - tax_part, tax_part, given["reference"]))
        rest, whole = rest - part, whole - amount - tax
    return lines


def _recorded(call: Call, given: JSON, of: JSON, *, kind: str, lines: list[JSON], reversal: JSON | None) -> JSON:
    world = call.world
    where = " AND json_extract(body, '$.reference') = ?"
    if world.store.select("tax.transaction", where, [given["reference"]], newest_first=True, limit=1):
        raise invalid("A transaction with this reference exists.", param="reference", code="resource_already_exists")
    now = world.now()
    transaction: dict[str, Any] = {
        "id": new_id("tax_"),
        "object": "tax.transaction",
        "created": now,
        "currency": of["currency"],
        "customer": of["customer"],
        "customer_details": of["customer_details"],
        "line_items": None,
        "livemode": False,
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "posted_at": given.get("posted_at") or now,
        "reference": given["reference"],
        "reversal": reversal,
        "ship_from_details": None,
        "shipping_cost": None,
        "tax_date": of["tax_date"],
        "type": kind,
        "_line_items": [_line_item(line, kind) for line in lines],
    }
    return reading.show(world, world.store.insert(transaction), call.expand)


def _line_item(line: JSON, kind: str) -> JSON:
    original = line["original_line_item"]
    return {
        "id": new_id("tax_li_"),
        "object": "tax.transaction_line_item",
        "amount": line["amount"],
        "amount_tax": line["amount_tax"],
        "livemode": False,
        "metadata": None,
        "product": None,
        "quantity": 1,
        "reference": line["reference"],
        "reversal": {"original_line_item": original} if original else None,
        "tax_behavior": "exclusive",
        "tax_code": TAX_CODE,
        "type": kind,
    }


def show_all(world: World) -> JSON:
    """Every transaction in its order, for tests: Stripe itself has no list of them."""
    found = world.store.select("tax.transaction", "", [], newest_first=False, limit=100_000)
    return {
        "data": [
            {
                "id": row["id"],
                "reference": row["reference"],
                "type": row["type"],
                "amount": sum(line["amount"] for line in row["_line_items"]),
                "amount_tax": sum(line["amount_tax"] for line in row["_line_items"]),
            }
            for row in found
        ]
    }
