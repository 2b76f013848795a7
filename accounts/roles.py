"""What staff may do, by role: the one table of rights; pure."""

from collections.abc import Iterable

SUPPORT, FINANCE, TREASURY, RISK, ADMIN = "support", "finance", "treasury", "risk", "admin"
ROLES = {
    SUPPORT: "Answers customers: sees accounts, keys, sessions and usage, and may ask for refunds and grants.",
    FINANCE: "Keeps the books: files, tie-outs, refunds, bank transfers, grants, documents and tax.",
    TREASURY: "Keeps signing funded: the deposit and the reserve.",
    RISK: "Keeps fraud out: stops, recipients, holds, disputes.",
    ADMIN: "May do everything, sets prices and gives roles; needs a second person like everybody.",
}
_EVERYBODY = (SUPPORT, FINANCE, TREASURY, RISK)

# Every right with the roles that hold it; `admin` holds all of them. A right to ask or decide names an approval:
# whoever holds both still cannot decide a request of his own.
MATRIX: dict[str, frozenset[str]] = {
    right: frozenset({*roles, ADMIN})
    for right, roles in {
        "console.open": _EVERYBODY,
        "approvals.open": _EVERYBODY,
        "audit.see": (FINANCE, RISK),
        "people.see": (),
        "people.change": (),
        "roles.ask": (),
        "roles.decide": (),
        "roles.take": (),
        # Customers
        "customers.see": _EVERYBODY,
        "customers.change": (SUPPORT, RISK),
        "keys.see": (SUPPORT, RISK),
        "usage.see": _EVERYBODY,
        "top_ups.see": (SUPPORT, FINANCE, RISK),
        # Money
        "books.see": (FINANCE,),
        "books.export": (FINANCE,),
        "provider.see": (FINANCE, RISK),
        "documents.see": (SUPPORT, FINANCE),
        "tax.change": (FINANCE,),
        "bank_transfers.see": (FINANCE,),
        "bank_transfers.ask": (FINANCE,),
        "bank_transfers.decide": (FINANCE,),
        "refunds.see": (SUPPORT, FINANCE, RISK),
        "refunds.ask": (SUPPORT, FINANCE),
        "refunds.decide": (FINANCE,),
        "grants.see": (SUPPORT, FINANCE),
        "grants.ask": (SUPPORT, FINANCE),
        "grants.decide": (FINANCE,),
        "fx.see": (FINANCE,),
        "fx.ask": (FINANCE,),
        "fx.decide": (FINANCE,),
        "adjustments.ask": (FINANCE,),
        "adjustments.decide": (FINANCE,),
        # Prices
        "prices.see": _EVERYBODY,
        "markups.ask": (),
        "markups.decide": (),
        "ceilings.lower": (RISK,),
        "ceilings.ask": (),
        "ceilings.decide": (),
        # The chain
        "chain.see": _EVERYBODY,
        "treasury.see": (FINANCE, TREASURY),
        "treasury.fund": (TREASURY,),
        # Risk: to throw a stop of one customer or key is a safety act; to lift it is not.
        "stops.see": _EVERYBODY,
        "stops.throw": _EVERYBODY,
        "stops.throw_all": (TREASURY, RISK),
        "stops.lift": (RISK,),
        "stops.lift_all": (TREASURY, RISK),
        "recipients.see": (SUPPORT, TREASURY, RISK),
        "recipients.restrict": (RISK,),
        "recipients.ask": (RISK,),
        "recipients.decide": (RISK,),
        "risk.see": (SUPPORT, FINANCE, RISK),
        "holds.place": (SUPPORT, RISK),
        "holds.lift": (RISK,),
    }.items()
}


def rights_of(roles: Iterable[str]) -> frozenset[str]:
    """Every right that at least one of the roles holds; unknown roles hold none."""
    held = set(roles)
    return frozenset(right for right, holders in MATRIX.items() if held & holders)
