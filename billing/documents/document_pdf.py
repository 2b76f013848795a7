"""The PDF of a document, set from its snapshot alone."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounts import moments
from billing import countries
from billing.documents import typesetter

SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
TITLES = {
    "receipt": "Receipt",
    "credit_note": "Credit note",
    "debit_note": "Debit note",
    "pro_forma": "Pro-forma",
}
_HEADLINES = {
    "receipt": "Paid",
    "credit_note": "Given back",
    "debit_note": "Taken up again",
    "pro_forma": "To be paid",
}
_TOTALS = {
    "receipt": "Total paid",
    "credit_note": "Total given back",
    "debit_note": "Total taken up again",
    "pro_forma": "Total to be paid",
}
_SUBTITLES = {"credit_note": "of a receipt", "debit_note": "of a credit note", "pro_forma": "not an invoice"}
# What the references are called, in their order; what is not named here stays in the data.
_REFERENCES = {
    "corrects": "Corrects",
    "corrects_issued_at": "Issued",
    "reason": "Reason",
    "dispute": "Dispute",
    "payment": "Payment",
    "top_up": "Top-up",
    "journal": "Journal",
}
_PAYMENT = {"method": "Paid with", "order": "Purchase order"}


def render(snapshot: Mapping[str, Any]) -> bytes:
    """The same snapshot gives the same bytes, as long as the template and the fonts are the same."""
    return typesetter.pdf("document.typ", _data(snapshot), dated=_moment(snapshot["issued_at"]))


def money(text: str, currency: str) -> str:
    """`$1,234.50` from `1234.50`; a currency without a sign of its own comes after the number."""
    sign = "\N{MINUS SIGN}" if text.startswith("-") else ""
    whole, _, rest = text.lstrip("-").partition(".")
    number = f"{int(whole):,}.{rest}"
    return f"{sign}{SIGNS[currency]}{number}" if currency in SIGNS else f"{sign}{number} {currency}"


def _data(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    kind, currency = snapshot["kind"], snapshot["currency"]
    issued = _moment(snapshot["issued_at"])
    taxed = bool(snapshot["tax"])
    return {
        "title": TITLES[kind],
        "subtitle": _SUBTITLES.get(kind) or ("and tax invoice for a payment on account" if taxed else "of a payment"),
        "number": snapshot["number"],
        "issued": _day(issued),
        "headline": _HEADLINES[kind],
        "paid": _paid(snapshot),
        "seller": _party(snapshot["seller"]),
        "buyer": _party(snapshot["buyer"]),
        "facts": _facts(snapshot, issued),
        "currency": currency,
        "lines": [{**line, "net": money(line["net"], currency)} for line in snapshot["lines"]],
        "net": money(snapshot["totals"]["net"], currency),
        "tax": [_tax(line, currency) for line in snapshot["tax"]],
        "sum": _TOTALS[kind],
        "total": money(snapshot["totals"]["total"], currency),
        "notes": [*snapshot["notes"], *_national(snapshot.get("national_tax") or {})],
        "references": [
            [title, _reference(name, snapshot["references"][name])]
            for name, title in _REFERENCES.items()
            if snapshot["references"].get(name)
        ],
    }


def _party(party: Mapping[str, Any]) -> dict[str, Any]:
    lines = [*party["address"], party["details"].get("country_name") or countries.name(party["country"])]
    lines += [f"{tax_id['kind']} {tax_id['number']}" for tax_id in party["tax_ids"]]
    return {"name": party["name"], "lines": [line for line in (*lines, party["email"]) if line]}


def _facts(snapshot: Mapping[str, Any], issued: datetime) -> list[list[str]]:
    supplied = _moment(snapshot["supplied_at"])
    account = snapshot["buyer"]["details"].get("account", "")
    facts = [["Number", snapshot["number"]], ["Issued", _day(issued)]]
    if snapshot["kind"] == "receipt":
        facts.append(["Payment received", _day(supplied)])
    elif snapshot["kind"] == "pro_forma":
        facts.append(["Please pay by", _day(supplied)])
    facts += [["Account", account]] if account else []
    facts += [[title, snapshot["payment"][name]] for name, title in _PAYMENT.items() if snapshot["payment"].get(name)]
    return [*facts, ["Currency", snapshot["currency"]]]


def _paid(snapshot: Mapping[str, Any]) -> str:
    """The sentence below the amount."""
    payment = snapshot["payment"]
    if snapshot["kind"] == "pro_forma":
        return "  ".join(f"{name}: {text}" for name, text in payment.items() if name not in _PAYMENT)
    method = f" with {payment['method']}" if payment.get("method") else ""
    if snapshot["kind"] == "debit_note":
        note = snapshot["references"]["corrects"]
        return f"The refund of the payment{method} did not arrive. Credit note {note} counts no more"
    if snapshot["references"].get("dispute"):
        return f"Taken back by the bank{method}, receipt {snapshot['references']['corrects']}"
    if snapshot["kind"] == "credit_note":
        return f"To the original payment{method}, receipt {snapshot['references']['corrects']}"
    return f"Received {_day(_moment(snapshot['supplied_at']))}{method}"


def _tax(line: Mapping[str, str], currency: str) -> dict[str, str]:
    what = f"{line['name']} {line['rate_percent']} %" if line["rate_percent"] else line["name"]
    return {"what": what, "base": f"on {money(line['base'], currency)}", "tax": money(line["tax"], currency)}


def _national(tax: Mapping[str, str]) -> list[str]:
    """The VAT in its country's currency, with the rate that was used."""
    if not tax:
        return []
    currency, rate = tax["currency"], Decimal(tax["nano_usd_per_cent"]) / 10_000_000
    return [f"VAT in {currency}: {money(tax['tax'], currency)} (1 {currency} = ${rate:f}, {tax['source']})."]


def _reference(name: str, text: str) -> str:
    return _day(_moment(text)) if name == "corrects_issued_at" else text


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _day(at: datetime) -> str:
    return moments.day(at)
