"""The pages a customer sees at the provider: pay, 3-D Secure, and a few words when nothing is left to pay."""

import datetime
import html
import string
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from sandbox.psp import bank_accounts, cards, checkout, knobs, payment_intents, setup_intents
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
FIELDS = ("email", "number", "expiry", "cvc", "name", "account")
BANKS = {"sepa_debit": "SEPA Direct Debit", "us_bank_account": "US bank account"}

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
    except (cards.CardRefused, bank_accounts.AccountRefused) as refusal:
        return _checkout_page(session, message=str(refusal), form=form, status=400)
    session, intent = checkout.pay(world, session, payer)
    if session["status"] == "complete":
        return _go(checkout.success_url(session))
    if intent["status"] == "requires_action":
        return _go(intent["next_action"]["redirect_to_url"]["url"])
    return _checkout_page(session, message=_error(intent), form=form, status=402)


def show_challenge(world: World, id: str, form: Form) -> web.Response:
    intent = _asking(world, id)
    if intent is None:
        return _notice("Unknown payment", "There is nothing to confirm here.", None, status=404)
    if intent["status"] != "requires_action":
        return _after_challenge(world, intent)
    method = world.need("payment_method", intent["payment_method"])
    return _page(
        "authenticate.html",
        merchant=world.merchant,
        amount=money(intent["amount"], intent["currency"]) if "amount" in intent else "a card kept for later",
        last4=method["card"]["last4"],
    )


def answer_challenge(world: World, id: str, form: Form) -> web.Response:
    intent = _asking(world, id)
    if intent is None or form.get("result") not in ("complete", "fail"):
        return show_challenge(world, id, form)
    room = setup_intents if intent["object"] == "setup_intent" else payment_intents
    intent = room.authenticate(world, intent, passed=form["result"] == "complete")
    return _after_challenge(world, intent)


def show_receipt(world: World, id: str, form: Form) -> web.Response:
    charge = world.store.find(id, "charge")
    if charge is None or not charge["paid"]:
        return _notice("Unknown receipt", "No payment was made under this number.", None, status=404)
    details = charge["payment_method_details"]
    amount, last4 = money(charge["amount"], charge["currency"]), details[details["type"]]["last4"]
    thing = "card" if details["type"] == "card" else "account"
    words = f"{amount} paid to {world.merchant} with the test {thing} ending in {last4}. Receipt {id}."
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
    begun = session["payment_intent"] or session["setup_intent"]
    intent = world.store.find(begun) if begun else None
    return _checkout_page(session, message=_error(intent) if intent else "")


def _asking(world: World, id: str) -> JSON | None:
    return world.store.find(id, "payment_intent") or world.store.find(id, "setup_intent")


def _error(intent: JSON) -> str:
    error = intent.get("last_payment_error") or intent.get("last_setup_error")
    return str(error["message"]) if error else ""


def _after_challenge(world: World, intent: JSON) -> web.Response:
    if intent["_checkout_session"] is None:
        return _go(intent["_return_url"] or f"{world.url}/receipts/{intent.get('latest_charge')}")
    session = checkout.settle(world, world.need("checkout.session", intent["_checkout_session"]), intent)
    if session["status"] == "complete":
        return _go(checkout.success_url(session))
    return _go(f"{world.url}/c/pay/{session['id']}")


def _payer(world: World, session: JSON, form: Form) -> checkout.Payer:
    email = form.get("email", "").strip()
    if not session["_known_email"] and "@" not in email:
        raise cards.CardRefused("An email address is needed for the receipt.")
    name = form.get("name") or None
    kinds = [kind for kind in session["payment_method_types"] if kind in BANKS]
    if form.get("account", "").strip() and kinds:
        account = bank_accounts.read_account(form["account"], kinds=kinds)
        return checkout.Payer(account=account, email=email or None, name=name)
    today = datetime.datetime.fromtimestamp(world.now(), datetime.UTC)
    card, exp_month, exp_year = cards.read_card(
        number=form.get("number", ""),
        expiry=form.get("expiry", ""),
        cvc=form.get("cvc", "").strip(),
        year=today.year,
        month=today.month,
    )
    return checkout.Payer(card=card, exp_month=exp_month, exp_year=exp_year, email=email or None, name=name)


def _checkout_page(session: JSON, *, message: str, form: Form | None = None, status: int = 200) -> web.Response:
    known = session["_known_email"]
    values = {name: (form or {}).get(name, "") for name in FIELDS}
    currency = session["currency"] or ""
    setup = session["mode"] == "setup"
    amount = "" if setup else money(session["amount_total"], currency)
    banks = " or ".join(BANKS[kind] for kind in session["payment_method_types"] if kind in BANKS)
    lines = "".join(
        f"<li><span>{html.escape(item['description'])}"
        + (f" <small>× {item['quantity']}</small>" if item["quantity"] > 1 else "")
        + f"</span><span class=num>{money(item['amount_subtotal'], currency)}</span></li>"
        for item in session["_line_items"]
    ) + "".join(
        f"<li><span>{html.escape(_tax_words(line))}</span><span class=num>{money(line['amount'], currency)}</span></li>"
        for line in session.get("_taxes", [])
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
            "sum": "" if setup else f'<p class="sum"><span>Total due</span><span class="num">{amount}</span></p>',
            "bank": _bank_field(banks, values["account"]) if banks else "",
            "invalid": ' aria-invalid="true" aria-describedby="message"' if message else "",
        },
        merchant=session["_merchant"],
        title=f"Save a card with {session['_merchant']}" if setup else f"Pay {session['_merchant']}",
        total="No charge today" if setup else amount,
        head="Card to keep" if setup else "Pay with card",
        press="Save card" if setup else f"Pay {amount}",
        currency=currency.upper(),
        **values,
    )


def _tax_words(line: JSON) -> str:
    if line["taxability_reason"] == "reverse_charge":
        return f"{line['rate']['display_name']}, reverse charge"
    return f"{line['rate']['display_name']} {line['rate']['jurisdiction']}, {line['rate']['percentage']:g} %"


def _bank_field(banks: str, account: str) -> str:
    examples = ", ".join(sorted(number for number in bank_accounts.BY_NUMBER))
    return (
        f'<div class="field"><label for="account">Or pay by {html.escape(banks)}'
        " <small>leave empty for a card; arrives later</small></label>"
        f'<input id="account" name="account" autocomplete="off" value="{html.escape(account)}">'
        f"<small>Test accounts: {html.escape(examples)}</small></div>"
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
