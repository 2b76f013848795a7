"""The doors: which path calls which handler, who may ask, and one answer for one idempotency key."""

import base64
import contextlib
import dataclasses
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from sandbox.psp import (
    charges,
    checkout,
    customers,
    disputes,
    events,
    fraud_warnings,
    hosted,
    idempotency,
    knobs,
    params,
    payment_intents,
    payment_methods,
    payouts,
    refunds,
    setup_intents,
    tax,
    tax_transactions,
)
from sandbox.psp.errors import JSON, Answer, ApiError, internal
from sandbox.psp.world import API_VERSION, Call, Cause, World, new_id, take_expand

log = logging.getLogger("sandbox.psp")

type Handler = Callable[[Call], JSON | Answer]
type Door = Callable[[web.Request], Awaitable[web.StreamResponse]]

API: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/customers", customers.create),
    ("GET", "/v1/customers", customers.index),
    ("GET", "/v1/customers/{id}", customers.retrieve),
    ("POST", "/v1/customers/{id}", customers.update),
    ("POST", "/v1/customers/{id}/tax_ids", tax.create_id),
    ("GET", "/v1/customers/{id}/tax_ids", tax.list_ids),
    ("DELETE", "/v1/customers/{customer}/tax_ids/{id}", tax.delete_id),
    ("POST", "/v1/tax/calculations", tax.calculate),
    ("GET", "/v1/tax/calculations/{id}", tax.retrieve_calculation),
    ("POST", "/v1/tax/transactions/create_from_calculation", tax_transactions.record),
    ("POST", "/v1/tax/transactions/create_reversal", tax_transactions.reverse),
    ("GET", "/v1/tax/transactions/{id}", tax_transactions.retrieve),
    ("GET", "/v1/tax/transactions/{id}/line_items", tax_transactions.list_lines),
    ("POST", "/v1/checkout/sessions", checkout.create),
    ("GET", "/v1/checkout/sessions", checkout.index),
    ("GET", "/v1/checkout/sessions/{id}", checkout.retrieve),
    ("POST", "/v1/checkout/sessions/{id}", checkout.update),
    ("POST", "/v1/checkout/sessions/{id}/expire", checkout.expire),
    ("GET", "/v1/checkout/sessions/{id}/line_items", checkout.line_items),
    ("POST", "/v1/payment_intents", payment_intents.create),
    ("GET", "/v1/payment_intents", payment_intents.index),
    ("GET", "/v1/payment_intents/{id}", payment_intents.retrieve),
    ("POST", "/v1/payment_intents/{id}", payment_intents.update),
    ("POST", "/v1/payment_intents/{id}/confirm", payment_intents.confirm),
    ("POST", "/v1/payment_intents/{id}/cancel", payment_intents.cancel),
    ("GET", "/v1/customers/{id}/payment_methods", payment_methods.index_of_customer),
    ("GET", "/v1/payment_methods", payment_methods.index),
    ("GET", "/v1/payment_methods/{id}", payment_methods.retrieve),
    ("POST", "/v1/payment_methods/{id}", payment_methods.update),
    ("POST", "/v1/payment_methods/{id}/attach", payment_methods.attach),
    ("POST", "/v1/payment_methods/{id}/detach", payment_methods.detach),
    ("POST", "/v1/setup_intents", setup_intents.create),
    ("GET", "/v1/setup_intents", setup_intents.index),
    ("GET", "/v1/setup_intents/{id}", setup_intents.retrieve),
    ("POST", "/v1/setup_intents/{id}/confirm", setup_intents.confirm),
    ("POST", "/v1/setup_intents/{id}/cancel", setup_intents.cancel),
    ("GET", "/v1/charges", charges.index),
    ("GET", "/v1/charges/{id}", charges.retrieve),
    ("POST", "/v1/refunds", refunds.create),
    ("GET", "/v1/refunds", refunds.index),
    ("GET", "/v1/refunds/{id}", refunds.retrieve),
    ("POST", "/v1/refunds/{id}", refunds.update),
    ("POST", "/v1/refunds/{id}/cancel", refunds.cancel),
    ("GET", "/v1/disputes", disputes.index),
    ("GET", "/v1/disputes/{id}", disputes.retrieve),
    ("POST", "/v1/disputes/{id}", disputes.update),
    ("POST", "/v1/disputes/{id}/close", disputes.close),
    ("GET", "/v1/radar/early_fraud_warnings", fraud_warnings.index),
    ("GET", "/v1/radar/early_fraud_warnings/{id}", fraud_warnings.retrieve),
    ("GET", "/v1/balance_transactions", charges.index_transactions),
    ("GET", "/v1/balance_transactions/{id}", charges.retrieve_transaction),
    ("GET", "/v1/balance", payouts.retrieve_balance),
    ("POST", "/v1/payouts", payouts.create),
    ("GET", "/v1/payouts", payouts.index),
    ("GET", "/v1/payouts/{id}", payouts.retrieve),
    ("POST", "/v1/payouts/{id}", payouts.update),
    ("POST", "/v1/payouts/{id}/cancel", payouts.cancel),
    ("GET", "/v1/events", events.index),
    ("GET", "/v1/events/{id}", events.retrieve),
)


def build(world: World) -> web.Application:
    app = web.Application(client_max_size=1024 * 1024)
    in_flight: set[str] = set()
    for method, path, handler in API:
        app.router.add_route(method, path, _api_door(world, in_flight, handler))
    app.router.add_route("*", "/v1/{rest:.*}", _api_door(world, in_flight, _unrecognized))
    hosted.add_routes(app, world)
    _add_knobs(app, world)
    return app


def _api_door(world: World, in_flight: set[str], handler: Handler) -> Door:
    async def serve(request: web.Request) -> web.StreamResponse:
        request_id = new_id("req_", 14)
        try:
            answer = await _answer(world, in_flight, handler, request, request_id)
        except ApiError as refusal:
            answer = refusal.answer()
        except knobs.HangUp:
            return knobs.cut(request)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            answer = internal().answer()
        return _respond(request, request_id, answer)

    return serve


async def _answer(world: World, in_flight: set[str], handler: Handler, request: web.Request, request_id: str) -> Answer:
    _authorise(world, request)
    is_post = request.method == "POST"
    given = params.parse_form(await request.text() if is_post else request.query_string)
    key = request.headers.get("Idempotency-Key") if is_post else None
    asked = idempotency.Asked(
        key=key,
        endpoint=request.path,
        fingerprint=idempotency.fingerprint(given),
        request_id=request_id,
    )
    fault = knobs.take_fault(world, request)
    knobs.strike(fault, "before")
    call = Call(
        world=dataclasses.replace(world, cause=Cause(request_id=request_id, idempotency_key=key)),
        expand=take_expand(given),
        params=given,
        id=request.match_info.get("id", ""),
    )
    with _claimed(in_flight, key):
        await knobs.lag(world)
        answer = idempotency.stored(world, asked) or _run(call, handler, asked, fault)
    knobs.strike(fault, "after")
    return answer


def _run(call: Call, handler: Handler, asked: idempotency.Asked, fault: str) -> Answer:
    """The work in one transaction, its result kept under the key in the same one."""
    try:
        with call.world.store.transaction():
            if fault == "error_before":
                raise internal()
            result = handler(call)
            answer = result if isinstance(result, Answer) else Answer(status=200, body=result)
            if fault == "error_after":
                answer = internal().answer()
            idempotency.remember(call.world, asked, answer)
            return answer
    except ApiError as refusal:
        if refusal.executed:
            with call.world.store.transaction():
                idempotency.remember(call.world, asked, refusal.answer())
        return refusal.answer()


@contextlib.contextmanager
def _claimed(in_flight: set[str], key: str | None) -> Iterator[None]:
    """Holds the key while its request runs; a second one meanwhile is told so."""
    if key is None:
        yield
        return
    idempotency.check(key)
    if key in in_flight:
        raise idempotency.in_use(key)
    in_flight.add(key)
    try:
        yield
    finally:
        in_flight.discard(key)


def _authorise(world: World, request: web.Request) -> None:
    """The secret key as a Bearer token or as the user name of Basic authentication."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            given = base64.b64decode(given).decode().partition(":")[0]
    if not given:
        raise ApiError("You did not provide an API key.", status=401)
    if not hmac.compare_digest(given.encode(), world.secret_key.encode()):
        raise ApiError("Invalid API Key provided.", status=401)


def _respond(request: web.Request, request_id: str, answer: Answer) -> web.Response:
    headers = {"Request-Id": request_id, "Cache-Control": "no-cache, no-store"}
    headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
    if key := request.headers.get("Idempotency-Key"):
        headers["Idempotency-Key"] = key
    if answer.replay_of is not None:
        headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.replay_of}
        headers |= {"Stripe-Should-Retry": "false"} if answer.status >= 500 else {}
    return web.json_response(answer.body, status=answer.status, headers=headers)


def _unrecognized(call: Call) -> JSON:
    raise ApiError("Unrecognized request URL. The README lists what this sandbox speaks.", status=404)


def _add_knobs(app: web.Application, world: World) -> None:
    """The /sandbox/ doors take and give JSON and want the secret key as well."""

    def door(work: Callable[[web.Request, JSON], JSON]) -> Door:
        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                _authorise(world, request)
                given = await _json(request)
                with world.store.transaction():
                    return web.json_response(work(request, given))
            except ApiError as refusal:
                return web.json_response(refusal.answer().body, status=refusal.status)

        return serve

    add = app.router.add_route
    add("GET", "/sandbox/", door(lambda request, given: knobs.show(world)))
    add("POST", "/sandbox/settings", door(lambda request, given: knobs.change_settings(world, given)))
    add("POST", "/sandbox/clock", door(lambda request, given: knobs.advance_clock(world, given)))
    add("POST", "/sandbox/rules", door(lambda request, given: knobs.add_rule(world, given)))
    add("DELETE", "/sandbox/rules", door(lambda request, given: knobs.clear_rules(world)))
    add("POST", "/sandbox/disputes", door(lambda request, given: disputes.open_by_knob(world, given)))
    add(
        "POST",
        "/sandbox/disputes/{id}",
        door(lambda request, given: disputes.decide_by_knob(world, request.match_info["id"], given)),
    )
    add(
        "POST",
        "/sandbox/refunds/{id}",
        door(lambda request, given: refunds.move(world, request.match_info["id"], given)),
    )
    add("POST", "/sandbox/early_fraud_warnings", door(lambda request, given: fraud_warnings.warn_by_knob(world, given)))
    add(
        "POST",
        "/sandbox/payouts/{id}",
        door(lambda request, given: payouts.move(world, request.match_info["id"], given)),
    )
    add("GET", "/sandbox/tax_transactions", door(lambda request, given: tax_transactions.show_all(world)))
    add("POST", "/sandbox/fees", door(lambda request, given: payouts.take_fee(world, given)))
    add(
        "GET",
        "/sandbox/deliveries",
        door(lambda request, _: knobs.list_deliveries(world, request.query.get("event"))),
    )
    add(
        "POST",
        "/sandbox/events/{id}/deliver",
        door(lambda request, given: knobs.deliver_again(world, request.match_info["id"], given)),
    )


async def _json(request: web.Request) -> JSON:
    text = await request.text()
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ApiError("The body must be a JSON object.")
    return given
