"""Who has paid how much for what: credit by sender and manifest id, and the sessions it keeps alive."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from sandbox.orchestrator.terms import Offer, Price

_IDLE_SECONDS = 30
_KEPT_SESSIONS = 2_000


@dataclass(kw_only=True)
class Account:
    """The credit of one (sender, manifest id), exact wei; the first price it paid stays its price."""

    price: Price
    credit_wei: Fraction = Fraction(0)
    received_wei: Fraction = Fraction(0)
    debited_wei: Fraction = Fraction(0)
    tickets: int = 0


@dataclass(kw_only=True)
class Session:
    """One piece of work: offered (a price was named), then open (paid), then closed with a reason."""

    session_id: str
    offer: Offer
    sender: bytes
    state: str = "offered"
    closed_because: str = ""
    paid_until_ns: int = 0  # on the monotonic clock: up to when time was charged, or when it was last used


@dataclass
class Sessions:
    """All sessions and accounts of this run. A restart forgets them, as the real one does."""

    on_close: Callable[[str], None]
    sessions: dict[str, Session] = field(default_factory=dict)
    accounts: dict[tuple[bytes, str], Account] = field(default_factory=dict)

    def offer(self, offer: Offer, sender: bytes, session_id: str = "") -> Session:
        session = Session(session_id=session_id or secrets.token_hex(8), offer=offer, sender=sender)
        self.sessions[session.session_id] = session
        if len(self.sessions) > _KEPT_SESSIONS:
            oldest = next(key for key, kept in self.sessions.items() if kept.state != "open")
            del self.sessions[oldest]
        return session

    def find(self, session_id: str) -> Session | None:
        return self.sessions.get(session_id)

    def credit(self, sender: bytes, manifest_id: str, price: Price, tickets: int, value_wei: Fraction) -> None:
        """Book accepted tickets; the first payment opens the account at its `price`."""
        account = self.accounts.setdefault((sender, manifest_id), Account(price=price))
        account.credit_wei += value_wei
        account.received_wei += value_wei
        account.tickets += tickets

    def price_of(self, sender: bytes, manifest_id: str) -> Price | None:
        account = self.accounts.get((sender, manifest_id))
        return account.price if account else None

    def open(self, session: Session) -> None:
        if session.state == "offered":
            session.state = "open"
            session.paid_until_ns = time.monotonic_ns()

    def touch(self, session: Session) -> None:
        session.paid_until_ns = time.monotonic_ns()

    def debit(self, session: Session, fee_wei: Fraction) -> bool:
        """Take the fee from the session's credit; False when there is not enough, and nothing is taken."""
        account = self.accounts.get((session.sender, session.session_id))
        if account is None or account.credit_wei < fee_wei:
            return False
        account.credit_wei -= fee_wei
        account.debited_wei += fee_wei
        return True

    def debit_metered(self) -> None:
        """Charge each open metered session for the time since its last charge; close it if it cannot pay."""
        for session in list(self.sessions.values()):
            if session.state != "open":
                continue
            now_ns = time.monotonic_ns()
            seconds = Fraction(now_ns - session.paid_until_ns, 10**9)
            if not session.offer.units_for(seconds):
                if seconds > _IDLE_SECONDS:
                    self.close(session.session_id, "idle")
                continue
            account = self.accounts.get((session.sender, session.session_id))
            price = account.price if account else session.offer.price
            session.paid_until_ns = now_ns
            if not self.debit(session, session.offer.units_for(seconds) * price.ratio):
                self.close(session.session_id, "credit is short")

    def close(self, session_id: str, reason: str) -> None:
        session = self.sessions.get(session_id)
        if session is not None and session.state != "closed":
            session.state, session.closed_because = "closed", reason
            self.on_close(session_id)
