"""The payment flow: opens each room once, in order, and lets the tickets leave only after the commit."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from signing.chain.answers import ChainUnavailable
from signing.chain.view import ChainView
from signing.pm import ceilings, quotes, wire
from signing.pm.orchestrator_info import OrchestratorInfo
from signing.pm.wire import PaymentRequest
from signing.signer import refusals, sessions, stored_answers, velocity
from signing.signer.authentication import Caller
from signing.signer.batch import Batch, Outcome
from signing.signer.database import Database
from signing.signer.deadlines import Deadlines
from signing.signer.drafts import Draft, Drafting, Terms, Work, look
from signing.signer.fresh_money import FreshMoney
from signing.signer.gate import Visitor
from signing.signer.keystore import SigningKey
from signing.signer.nonces import Nonces
from signing.signer.price_rules import PriceRules
from signing.signer.rates import Rates
from signing.signer.recipients import Recipients
from signing.signer.refusal_notes import RefusalNotes
from signing.signer.refusals import RefreshSession, Refused, Unavailable
from signing.signer.senders import Senders
from signing.signer.sessions import Session
from signing.signer.stops import Stops
from signing.signer.stored_answers import StoredAnswer

_MOST_ROUNDS = 8
_SECONDS_BETWEEN_ROOMS = 0.15
_MOST_SECONDS = 1.95
_SECONDS_A_CHECK_HOLDS = 0.5
# What may speak against a request today that was paid when it first came.
_MAYBE_PAID_BEFORE = (
    RefreshSession,
    quotes.NoTickets,
    quotes.TooManyTickets,
    ceilings.PriceAboveCeiling,
    ceilings.TicketParamsRefused,
)


class Chain(Protocol):
    """What the flow asks of the chain: a view that is fresh, or ChainUnavailable."""

    def view(self) -> ChainView: ...


class Payments:
    """Answers payment requests. `pay` raises Refused for every answer that is not 200."""

    def __init__(
        self,
        *,
        senders: Senders,
        chain: Chain,
        database: Database,
        batch: Batch,
        recipients: Recipients,
        rates: Rates,
        stops: Stops,
        fresh_money: FreshMoney,
        price_rules: PriceRules,
        terms: Terms,
        notes: RefusalNotes,
    ) -> None:
        self._senders = senders
        self._chain = chain
        self._database = database
        self._batch = batch
        self._recipients = recipients
        self._rates = rates
        self._stops = stops
        self._fresh_money = fresh_money
        self._price_rules = price_rules
        self._mac_keys = terms.mac_keys
        self._drafting = Drafting(terms, price_rules)
        self._notes = notes
        self._nonces = Nonces()
        self._turns = sessions.Turns()
        self._deadlines = Deadlines(seconds=_MOST_SECONDS)

    async def pay(self, visitor: Visitor, body: bytes) -> bytes:
        """The JSON answer to a payment request: the stored one when it was asked before."""
        caller = visitor.caller
        if not caller.is_active:
            raise refusals.of_commit("account_frozen")
        try:
            request = wire.parse_request(body)
            _check_text(request)
            session = sessions.presented(request, caller.customer_id, self._mac_keys)
            with self._deadlines.start():
                if session.is_new:
                    return await self._pay(visitor, request, session)
                async with self._turns.in_line(session.id):
                    return await self._pay(visitor, request, session)
        except TimeoutError:
            raise Unavailable("busy", "the payment could not be committed in time, try again") from None
        except ceilings.TicketParamsExpired:
            raise RefreshSession(request.orchestrator.transcoder) from None
        except refusals.PURE_REFUSALS as error:
            raise refusals.of(error) from None
        except ChainUnavailable as error:
            raise Unavailable(error.reason_code, str(error)) from None

    async def _pay(self, visitor: Visitor, request: PaymentRequest, session: Session) -> bytes:
        """Draft from what is known, commit, and where the row knows better go round with its values."""
        caller, digest, is_anew = visitor.caller, sessions.content_digest(request), False
        key = self._senders.known_key_of(caller) or await self._senders.key_of(caller)
        counter = key.address + request.orchestrator.ticket_params.recipient_rand_hash
        for _ in range(_MOST_ROUNDS):
            view = self._chain.view()
            _check_auth_token(request.orchestrator, self._database.now_ns())
            checked_at = time.monotonic()
            if not self._is_young(checked_at):
                await self._refresh()
            self._check_stops(caller, key, request, view)
            rate_id = self._rates.known_row_of(view.rate) or await self._rates.row_of(view.rate)
            work = Work(key, visitor, request, session, digest, view, rate_id, counter)
            if key.is_local:
                draft = self._draft(work)
                waiting = self._enqueue(draft)
            else:
                draft, waiting = await self._draft_elsewhere(work)
            try:
                outcome = await waiting
            finally:
                self._nonces.release(draft.counter)
            if outcome["outcome"] == "committed":
                self._nonces.learn(draft.counter, draft.last_nonce)
                if is_anew:
                    self._notes.charged_anew(caller.customer_id)
            if time.monotonic() - checked_at > _SECONDS_A_CHECK_HOLDS:
                # What was stopped meanwhile does not leave; once it may, the same request gets this answer.
                await self._refresh()
                self._check_stops(caller, key, request, view)
            match outcome["outcome"]:
                case "committed":
                    return draft.answer
                case "repeat":
                    return self._told(work, outcome).text()
                case "stale":
                    self._nonces.learn(draft.counter, outcome["last_nonce"])
                    if session.is_new:
                        session = session._replace(is_row=True)
                    else:
                        lost = await self._senders.run(key, self._answer_again, work, outcome)
                        if lost is not None:
                            return lost
                        is_anew = is_anew or _was_lost(work, outcome)
                        session = sessions.corrected(session, outcome, request)
                case _ if outcome["code"] == "wrong_clock":
                    await self._database.measure_clock()
                case _ if outcome["code"] == "velocity":
                    await self._consider(draft.row.recipient, outcome)
                case _:
                    raise refusals.of_commit(outcome["code"], outcome.get("detail"))
        raise Unavailable("busy", "the session is busy, try again")

    def _is_young(self, now: float) -> bool:
        """Whether nothing needs to be read again of what a payment goes by: then it waits for its commit alone."""
        return self._stops.is_young(now) and self._recipients.is_young(now) and self._price_rules.is_young(now)

    async def _refresh(self) -> None:
        """What counts most comes last, so that it is youngest when it is looked at."""
        await self._price_rules.refresh()
        await self._recipients.refresh()
        await self._stops.refresh()

    def _check_stops(self, caller: Caller, key: SigningKey, request: PaymentRequest, view: ChainView) -> None:
        self._stops.check(caller, sender=key.address)
        self._recipients.check(request.orchestrator.ticket_params.recipient, view)

    async def _consider(self, recipient: str, verdict: Outcome) -> None:
        """Returns when there may be room now for what fresh money was refused. Raises Refused (429)."""
        if verdict["cap"] == "recipient" and await self._fresh_money.renew(recipient):
            return
        lease = self._fresh_money.lease(recipient)
        if velocity.is_between_rooms(verdict, lease):
            await asyncio.sleep(_SECONDS_BETWEEN_ROOMS)  # the shortage is ours: a moment, then 503, never 429
            return
        raise velocity.refusal(
            verdict,
            caps=self._fresh_money.caps,
            lease=lease,
            now_seconds=self._database.now_ns() // 10**9,
        )

    async def _draft_elsewhere(self, work: Work) -> tuple[Draft, asyncio.Future[Outcome]]:
        """The same with a key that keeps us waiting: payments of one offer are drafted and queued one by one.

        Such a key may sign one ticket differently each time. What was signed and not committed is forgotten, and
        the database takes each nonce once, so of two signatures of one ticket one at most is ever answered.
        """
        async with self._turns.in_line(work.counter.hex()):
            draft = await self._senders.run(work.key, self._draft, work)
            return draft, self._enqueue(draft)

    def _draft(self, work: Work) -> Draft:
        """A draft; or, where something speaks against a payment that may have been made before, a look first."""
        session, rand_hash = work.session, work.request.orchestrator.ticket_params.recipient_rand_hash
        last_nonce = max(session.last_nonce(rand_hash), self._nonces.last(work.counter))
        try:
            return self._drafting.draft(work, last_nonce=last_nonce, now_ns=self._database.now_ns())
        except _MAYBE_PAID_BEFORE as error:
            if session.is_row or (session.is_new and not _came_about(error)):
                raise
            return look(work)

    def _enqueue(self, draft: Draft) -> asyncio.Future[Outcome]:
        # Nobody comes between a draft and its place in the queue: nonces must wait in the order they were taken.
        waiting = self._batch.enqueue(draft.row)
        self._nonces.reserve(draft.counter, draft.last_nonce)
        return waiting

    def _answer_again(self, work: Work, row: Mapping[str, Any]) -> bytes | None:
        """The stored payment with new segment credentials, where only the offer changed since it was lost.

        None where its ticket parameters expired: then the gap is charged anew.
        """
        offer = work.request.orchestrator
        if not _was_lost(work, row):
            return None
        lost = self._told(work, row)
        if not lost.pays(offer, l1_block=work.view.l1_block):
            return None
        return replace(lost, seg_creds=self._drafting.seg_creds(work, work.request.manifest_id)).text()

    def _told(self, work: Work, row: Mapping[str, Any]) -> StoredAnswer:
        told = stored_answers.told(row, work.caller.customer_id, self._mac_keys)
        assert told, "the commit tells of an answer and not which"
        return told


def _was_lost(work: Work, row: Mapping[str, Any]) -> bool:
    """Whether the row's last payment was made for this request, only with another offer."""
    is_told = row.get("stored") is not None or row["answer"] is not None
    return is_told and sessions.differs_in_offer_only(work.digest, bytes.fromhex(row["digest"]))


def _came_about(error: Exception) -> bool:
    """Whether the same opening may have been paid a moment ago: nonces are used up, ceilings and our funds fall."""
    return isinstance(error, RefreshSession | ceilings.PriceAboveCeiling) or (
        isinstance(error, ceilings.TicketParamsRefused) and error.reason.is_ours
    )


def _check_text(request: PaymentRequest) -> None:
    # PostgreSQL's text cannot hold it, and nobody's label needs it.
    if "\0" in request.app:
        raise Refused(400, "invalid_app", "app holds a NUL character")


def _check_auth_token(offer: OrchestratorInfo, now_ns: int) -> None:
    if offer.auth_token is None:
        raise Refused(
            400,
            "missing_auth_token",
            "remote signer could not check whether to refresh session: missing auth token",
        )
    if offer.auth_token.needs_refresh(now_ns):
        raise RefreshSession(offer.transcoder)
