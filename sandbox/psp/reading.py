"""Shows stored objects as the API gives them: computed fields, expansion, pages of a list."""

from typing import Any

from sandbox.psp import params
from sandbox.psp.errors import JSON, invalid
from sandbox.psp.world import Call, World

# The fields of each object that hold an id and may be expanded into the object itself.
EXPANDABLE = {
    "checkout.session": {"customer", "payment_intent", "setup_intent", "line_items", "invoice", "total_details"},
    "payment_intent": {"customer", "latest_charge", "payment_method", "invoice", "review"},
    "charge": {"balance_transaction", "customer", "failure_balance_transaction", "payment_intent", "refunds"},
    "balance_transaction": {"source"},
    "payment_method": {"customer"},
    "setup_intent": {"customer", "payment_method"},
    "payout": {"balance_transaction", "failure_balance_transaction"},
    "customer": {"default_source"},
    "refund": {"balance_transaction", "charge", "failure_balance_transaction", "payment_intent"},
    "dispute": {"charge", "payment_intent"},
    "radar.early_fraud_warning": {"charge", "payment_intent"},
    "tax_id": {"customer"},
    "tax.transaction": {"line_items"},
    "event": set(),
}
DEEPEST_EXPANSION = 4
STAMP = params.integer()


def retrieve(kind: str, call: Call, *, param: str = "id") -> JSON:
    params.read(call.params, {})
    return show(call.world, call.world.need(kind, call.id, param=param), call.expand)


def show(world: World, stored: JSON, expand: list[str] | None = None) -> JSON:
    """The public face of a stored object; names with a leading underscore stay inside."""
    body = {name: value for name, value in stored.items() if not name.startswith("_")}
    match stored["object"]:
        case "checkout.session":
            body["url"] = f"{world.url}/c/pay/{stored['id']}" if stored["status"] == "open" else None
        case "balance_transaction":
            body["status"] = "available" if stored["available_on"] <= world.now() else "pending"
        case "tax.calculation":
            del body["created"]  # kept for the store alone
        case "event":
            body["pending_webhooks"] = _undelivered(world, stored["id"])
    for path in expand or []:
        _expand(world, stored, body, path.split("."), path)
    return body


def page(kind: str, call: Call, *, url: str, filters: dict[str, params.Reader] | None = None) -> JSON:
    """One page of a list, newest first: cursors, limit, created and equality filters."""
    filters = filters or {}
    spec: dict[str, params.Reader] = {
        "limit": params.integer(least=1, most=100),
        "starting_after": params.string(),
        "ending_before": params.string(),
        "created": _created,
        **filters,
    }
    given = params.read(call.params, spec)
    where, values = _where(kind, call.world, given, filters)
    limit = given.get("limit") or 10
    backwards = given.get("ending_before") is not None
    found = call.world.store.select(kind, where, values, newest_first=not backwards, limit=limit + 1)
    rows = found[:limit][::-1] if backwards else found[:limit]
    inner = [_below_data(path) for path in call.expand]
    data = [show(call.world, row, inner) for row in rows]
    return {"object": "list", "data": data, "has_more": len(found) > limit, "url": url}


def whole_list(items: list[JSON], url: str) -> JSON:
    return {"object": "list", "data": items, "has_more": False, "url": url}


def _where(kind: str, world: World, given: JSON, filters: dict[str, params.Reader]) -> tuple[str, list[Any]]:
    where, values = "", []
    for name, sign in (("starting_after", "<"), ("ending_before", ">")):
        if given.get(name) is not None:
            seq = world.store.seq(given[name], kind)
            if seq is None:
                raise invalid(f"No such {kind}: '{given[name]}'", param=name, code="resource_missing")
            where += f" AND seq {sign} ?"
            values.append(seq)
    for sign, stamp in given.get("created") or []:
        where += f" AND created {sign} ?"
        values.append(stamp)
    for name in filters:
        wanted = given.get(name)
        if wanted is None:
            continue
        if name == "types":
            where += f" AND json_extract(body, '$.type') IN ({','.join('?' * len(wanted))})"
            values += wanted
        elif name == "payout":
            if not world.need("payout", wanted, param="payout")["automatic"]:
                raise invalid("Balance transaction history can only be filtered on automatic payouts.", param=name)
            where += " AND json_extract(body, '$._payout') = ?"
            values.append(wanted)
        elif name == "delivery_success":
            states = "('failed', 'pending', 'dropped')"
            sign = "NOT IN" if wanted else "IN"
            where += f" AND id {sign} (SELECT event FROM deliveries WHERE state IN {states})"
        else:
            where += f" AND json_extract(body, '$.{name}') = ?"
            values.append(wanted)
    return where, values


def _created(value: object, param: str) -> list[tuple[str, int]]:
    if not isinstance(value, dict):
        return [("=", STAMP(value, param))]
    signs = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
    return [(signs[key], stamp) for key, stamp in params.read(value, dict.fromkeys(signs, STAMP), at=param).items()]


def _below_data(path: str) -> str:
    if not path.startswith("data."):
        raise invalid(f"This property cannot be expanded ({path}). Lists expand below `data.`.", param="expand")
    return path.removeprefix("data.")


def _expand(world: World, stored: JSON, body: JSON, steps: list[str], path: str) -> None:
    name, rest = steps[0], steps[1:]
    if len(steps) > DEEPEST_EXPANSION or name not in EXPANDABLE.get(stored["object"], set()):
        raise invalid(f"This property cannot be expanded ({path}).", param="expand")
    if name == "line_items":
        kind = "tax/transactions" if stored["object"] == "tax.transaction" else "checkout/sessions"
        body[name] = whole_list(stored["_line_items"], f"/v1/{kind}/{stored['id']}/line_items")
        return
    if name == "refunds":
        made = world.store.select(
            "refund", " AND json_extract(body, '$.charge') = ?", [stored["id"]], newest_first=True, limit=10
        )
        body[name] = whole_list([show(world, refund) for refund in made], f"/v1/charges/{stored['id']}/refunds")
        return
    if name == "total_details":
        if rest != ["breakdown"]:
            raise invalid(f"This property cannot be expanded ({path}).", param="expand")
        body[name] = stored[name] | {"breakdown": {"discounts": [], "taxes": stored.get("_taxes", [])}}
        return
    inner = world.store.find(stored[name]) if stored.get(name) else None
    if inner is None:
        return
    if not isinstance(body[name], dict):
        body[name] = show(world, inner)
    if rest:
        _expand(world, inner, body[name], rest, path)


def _undelivered(world: World, event_id: str) -> int:
    sql = "SELECT count(*) FROM deliveries WHERE event = ? AND state = 'pending'"
    return int(world.store.db.execute(sql, (event_id,)).fetchone()[0])
