"""What the signer answers when it will not sign: one status and one stable code for each reason."""

import json
from collections.abc import Mapping

from signing.pm import ceilings, quotes, state, tickets, wire

REFRESH_SESSION = "refresh session for remote signer"


class Refused(Exception):
    """The answer to a request that is not fulfilled; nothing was charged."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if status in {429, 503}:
            self.headers.setdefault("Retry-After", "1")

    @property
    def body(self) -> bytes:
        """The JSON that is answered."""
        return json.dumps({"error": {"message": self.message, "code": self.code}}).encode() + b"\n"


class RefreshSession(Refused):
    """The orchestrator's offer is used up or about to expire: the client fetches another from it (480)."""

    def __init__(self, orchestrator_url: str) -> None:
        super().__init__(480, "refresh_session", REFRESH_SESSION, {"Livepeer-Orchestrator-URL": orchestrator_url})


class Unavailable(Refused):
    """The shortage is ours and temporary (503): a running session asks again a few seconds later."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(503, code, message)


_STATUSES: dict[type[Exception], tuple[int, str]] = {
    wire.RequestTooLarge: (413, "body_too_large"),
    state.InvalidSig: (400, "invalid_sig"),
    state.InvalidState: (400, "invalid_state"),
    tickets.InvalidTicket: (400, "invalid_ticket_params"),
    quotes.UnknownJobType: (400, "invalid_job_type"),
    quotes.NoBillableUnits: (400, "missing_billable_units"),
    quotes.TooManyTickets: (400, "too_many_tickets"),
    quotes.NoTickets: (482, "no_tickets"),
    ceilings.InvalidMaxPrice: (400, "invalid_max_price"),
    ceilings.PriceAboveCeiling: (481, "price_above_ceiling"),
}
PURE_REFUSALS: tuple[type[Exception], ...] = (
    *_STATUSES,
    wire.BadRequest,
    state.StateMismatch,
    ceilings.TicketParamsRefused,
)

_COMMITS: dict[str, tuple[int, str]] = {
    "unknown_session": (400, "the state's session is unknown"),
    "key_revoked": (401, "the API key was revoked"),
    "account_frozen": (402, "the account is frozen"),
    "insufficient_credit": (402, "insufficient credit"),
    "promotional_credit_only": (
        402,
        "what is left is promotional credit, which pays listed recipients only: top up to pay this one",
    ),
    "key_limit_reached": (402, "a budget of this API key or its account leaves too little for this payment"),
    # For good: the offer at hand was made for the address the client asked with, and a fresh start asks with ours.
    "sender_changed": (400, "the account pays from another address now, start the client again"),
}


def of(error: Exception) -> Refused:
    """The answer to an exception of the pure rooms (one of PURE_REFUSALS)."""
    if isinstance(error, wire.BadRequest | state.StateMismatch):
        return Refused(400, error.code, str(error))
    if isinstance(error, ceilings.TicketParamsRefused):
        return _of_ticket_params(error)
    status, code = _STATUSES[type(error)]
    return Refused(status, code, str(error))


def of_commit(code: str, detail: str | None = None) -> Refused:
    """The answer to a refusal by the database, told by its name; `detail` are plain words that say more."""
    status, message = _COMMITS[code]
    return Refused(status, code, detail or message)


def _of_ticket_params(error: ceilings.TicketParamsRefused) -> Refused:
    if error.reason.is_ours:
        return Unavailable(error.reason.value, str(error))
    return Refused(400, error.reason.value, f"remote signer could not check whether to refresh session: {error}")
