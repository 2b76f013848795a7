"""The pages a customer sees at the provider: pay, 3-D Secure, and a few words when nothing is left to pay."""

import datetime
import html
import string
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from sandbox.psp import cards, checkout, knobs, payment_intents
from sandbox.psp.errors import JSON, ApiError
from sandbox.psp.world import World

HERE = Path(__file__).parent
SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}
HEADERS = {
    # No form-action: browsers apply it to the redirect that follows Pay, which leads to the merchant.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FIELDS = ("email", "number", "expiry", "cvc", "name")

type Form = dict[str, str]
type Page = Callable[[World, str, Form], web.Response]


def add_routes(app: web.Application, world: World) -> None:
    add = app.router.add_route
    add("GET", "/c/pay/{id}", _door(world, show_session))
    add("POST", "/c/pay/{id}", _door(world, press_pay))
    add("GET", "/3d-secure/{id}", _door(world, show_challenge))
    add("POST", "/3d-secure/{id}", _door(world, answer_challenge))
    add("GET", "/receipts/{id}", _door(world, show_receipt))
    app.router.add_static("/static/", HERE / "static")


def show_session(world: World, id: str, form: Form) -> web.Response:
    session = world.store.find(id, "checkout.session")
    if session is None:
        return _notice("Unknown payment page", "Go back to the shop and start again.", None, status=404)
    return _stand(world, session)


def press_pay(world: World, id: str, form: Form) -> web.Response:
    """One press of Pay. An order that is paid already leads on to the shop without a second charge."""
    session = world.store.find(id, "checkout.session")
    if session is None or session["status"] == "expired":
        return show_session(world, id, form)
    if session["status"] == "complete":
        return _go(checkout.success_url(session))
    try:
        payer = _payer(world, session, form)
    except cards.CardRefused as refusal:
        return _checkout_page(session, message=str(refusal), form=form, status=400)
    session, intent = checkout.pay(world, session, payer)
    if session["status"] == "complete":
        return _go(checkout.success_url(session))
    if intent["status"] == "requires_action":
        return _go(intent["next_action"]["redirect_to_url"]["url"])
    return _checkout_page(session, message=intent["last_payment_error"]["message"], form=form, status=402)


def show_challenge(world: World, id: str, form: Form) -> web.Response:
    intent = world.store.find(id, "payment_intent")
    if intent is None:
        return _notice("Unknown payment", "There is nothing to confirm here.", None, status=404)
    if intent["status"] != "requires_action":
        return _after_challenge(world, intent)
    method = world.need("payment_method", intent["payment_method"])
    return _page(
        "authenticate.html",
        merchant=world.merchant,
        amount=money(intent["amount"], intent["currency"]),
        last4=method["card"]["last4"],
    )


def answer_challenge(world: World, id: str, form: Form) -> web.Response:
    intent = world.store.find(id, "payment_intent")
    if intent is None or form.get("result") not in ("complete", "fail"):
        return show_challenge(world, id, form)
    intent = payment_intents.authenticate(world, intent, passed=form["result"] == "complete")
    return _after_challenge(world, intent)


def show_receipt(world: World, id: str, form: Form) -> web.Response:
    charge = world.store.find(id, "charge")
    if charge is None or not charge["paid"]:
        return _notice("Unknown receipt", "No payment was made under this number.", None, status=404)
    amount, last4 = (
        money(charge["amount"], charge["currency"]),
        charge["payment_method_details"]["card"]["last4"],
    )
    words = f"{amount} paid to {world.merchant} with the test card ending in {last4}. Receipt {id}."
    return _notice("Receipt", words, None)


def money(amount_minor: int, currency: str) -> str:
    return f"{SIGNS[currency]}{amount_minor // 100:,}.{amount_minor % 100:02d}"


def _door(world: World, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        fault = knobs.take_fault(world, request)
        try:
            knobs.strike(fault, "before")
            await knobs.lag(world)
            with world.store.transaction():
                answer = page(world, request.match_info["id"], form)
            knobs.strike(fault, "after")
        except knobs.HangUp:
            return knobs.cut(request)
        except ApiError as refusal:
            return _notice("Try again in a moment", str(refusal), None, status=refusal.status)
        if fault in ("error_before", "error_after"):
            return _notice("Something went wrong", "Reload this page to see whether you have paid.", None, status=500)
        return answer

    return serve


def _stand(world: World, session: JSON) -> web.Response:
    """The page of a session as it stands now."""
    if session["status"] == "complete":
        return _notice("This order is paid", "There is nothing left to do here.", checkout.success_url(session))
    if session["status"] == "expired":
        words = "Nothing was charged. Start again in the shop."
        return _notice("This payment page has expired", words, session["cancel_url"])
    intent = world.store.find(session["payment_intent"]) if session["payment_intent"] else None
    error = intent["last_payment_error"] if intent else None
    return _checkout_page(session, message=error["message"] if error else "")


def _after_challenge(world: World, intent: JSON) -> web.Response:
    if intent["_checkout_session"] is None:
        return _go(intent["_return_url"] or f"{world.url}/receipts/{intent['latest_charge']}")
    session = checkout.settle(world, world.need("checkout.session", intent["_checkout_session"]), intent)
    if session["status"] == "complete":
        return _go(checkout.success_url(session))
    return _go(f"{world.url}/c/pay/{session['id']}")


def _payer(world: World, session: JSON, form: Form) -> checkout.Payer:
    today = datetime.datetime.fromtimestamp(world.now(), datetime.UTC)
    card, exp_month, exp_year = cards.read_card(
        number=form.get("number", ""),
        expiry=form.get("expiry", ""),
        cvc=form.get("cvc", "").strip(),
        year=today.year,
        month=today.month,
    )
    email = form.get("email", "").strip()
    if not session["_known_email"] and "@" not in email:
        raise cards.CardRefused("An email address is needed for the receipt.")
    return checkout.Payer(
        card=card, exp_month=exp_month, exp_year=exp_year, email=email or None, name=form.get("name") or None
    )


def _checkout_page(session: JSON, *, message: str, form: Form | None = None, status: int = 200) -> web.Response:
    known = session["_known_email"]
    values = {name: (form or {}).get(name, "") for name in FIELDS}
    currency = session["currency"]
    lines = "".join(
        f"<li><span>{html.escape(item['description'])}"
        + (f" <small>× {item['quantity']}</small>" if item["quantity"] > 1 else "")
        + f"</span><span class=num>{money(item['amount_total'], currency)}</span></li>"
        for item in session["_line_items"]
    )
    cancel = session["cancel_url"]
    return _page(
        "checkout.html",
        status=status,
        raw={
            "lines": lines,
            "alert": f'<p class="alert" id="message" role="alert">{html.escape(message)}</p>' if message else "",
            "cancel": f'<a id="cancel" class="back" href="{html.escape(cancel)}">Cancel</a>' if cancel else "",
            "email_hidden": " hidden" if known else "",
            "email_required": "" if known else " required",
            "known": f'<p class="who">{html.escape(known)}</p>' if known else "",
            "invalid": ' aria-invalid="true" aria-describedby="message"' if message else "",
        },
        merchant=session["_merchant"],
        amount=money(session["amount_total"], currency),
        currency=currency.upper(),
        **values,
    )


def _notice(title: str, words: str, link: str | None, *, status: int = 200) -> web.Response:
    back = f'<p><a class="go" href="{html.escape(link)}">Back to the shop</a></p>' if link else ""
    return _page("notice.html", status=status, raw={"back": back}, title=title, words=words)


def _page(template: str, *, status: int = 200, raw: dict[str, str] | None = None, **values: str) -> web.Response:
    """Fills a template: `values` are escaped, `raw` is markup made here."""
    escaped = {key: html.escape(value) for key, value in values.items()}
    text = string.Template((HERE / "templates" / template).read_text()).substitute(escaped, **(raw or {}))
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def _go(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})
