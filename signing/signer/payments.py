"""The payment flow: opens each room once, in order, and lets the tickets leave only after the commit."""

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

from signing.chain.ethereum import ChainUnavailable
from signing.chain.view import ChainView
from signing.pm import ceilings, quotes, wire
from signing.pm.orchestrator_info import OrchestratorInfo
from signing.pm.state import pm_session_id, seal
from signing.pm.tickets import Ticket, expected_value, ticket_hashes
from signing.pm.wire import PaymentRequest
from signing.signer import refusals, sessions
from signing.signer.authentication import Caller
from signing.signer.batch import Batch, Outcome
from signing.signer.database import Database
from signing.signer.keystore import SigningKey
from signing.signer.nonces import Nonces
from signing.signer.price_rules import PriceRules
from signing.signer.rates import Rates
from signing.signer.recipients import Recipients
from signing.signer.refusals import RefreshSession, Refused, Unavailable
from signing.signer.senders import Senders
from signing.signer.sessions import Session
from signing.signer.stops import Stops

# An orchestrator takes 600 nonces for one rand hash, and one payment may add 100.
_REFRESH_FROM_NONCE = 500
_MOST_ROUNDS = 8
_MOST_SECONDS = 1.95
_MANIFESTS_REMEMBERED = 4096
_LONGEST_LABEL = 256
_LONGEST_STORED_URL = 300


class Chain(Protocol):
    """What the flow asks of the chain: a view that is fresh, or ChainUnavailable."""

    def view(self) -> ChainView: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator allows of every ticket, and the keys that seal states."""

    limits: ceilings.TicketLimits
    mac_keys: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A signed payment that may not leave yet, and the row that commits it."""

    answer: bytes
    row: Mapping[str, Any]
    counter: bytes
    last_nonce: int


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
        price_rules: PriceRules,
        terms: Terms,
    ) -> None:
        self._senders = senders
        self._chain = chain
        self._database = database
        self._batch = batch
        self._recipients = recipients
        self._rates = rates
        self._stops = stops
        self._price_rules = price_rules
        self._terms = terms
        self._nonces = Nonces()
        self._turns = sessions.Turns()
        self._seg_signature = lru_cache(_MANIFESTS_REMEMBERED)(_sign_seg_creds)

    async def pay(self, caller: Caller, body: bytes) -> bytes:
        """The JSON answer to a payment request: the stored one when it was asked before."""
        if not caller.is_active:
            raise refusals.of_commit("account_frozen")
        try:
            request = wire.parse_request(body)
            _check_text(request)
            session = sessions.presented(request, caller.customer_id, self._terms.mac_keys)
            async with asyncio.timeout(_MOST_SECONDS), self._turns.take(session):
                return await self._pay(caller, request, session)
        except TimeoutError:
            raise Unavailable("busy", "the payment could not be committed in time, try again") from None
        except ceilings.TicketParamsExpired:
            raise RefreshSession(request.orchestrator.transcoder) from None
        except refusals.PURE_REFUSALS as error:
            raise refusals.of(error) from None
        except ChainUnavailable as error:
            raise Unavailable(error.reason_code, str(error)) from None

    async def _pay(self, caller: Caller, request: PaymentRequest, session: Session) -> bytes:
        """Draft from what is known, commit, and where the row knows better go round with its values."""
        digest = sessions.content_digest(request)
        key = await self._senders.key_of(caller)
        for _ in range(_MOST_ROUNDS):
            view = self._chain.view()
            _check_auth_token(request.orchestrator, self._database.now_ns())
            await self._stops.check(caller, sender=key.address)
            await self._recipients.check(request.orchestrator.ticket_params.recipient, view.active_recipients)
            await self._price_rules.refresh()
            rate_id = await self._rates.row_of(view.rate)
            work = (key, caller, request, session, digest, view, rate_id)
            if key.is_local:
                draft = self._draft_or_look(*work)
                waiting = self._enqueue(draft)
            else:
                draft, waiting = await self._draft_elsewhere(*work)
            outcome = await self._outcome(draft, waiting)
            match outcome["outcome"]:
                case "committed":
                    return draft.answer
                case "repeat":
                    return str(outcome["answer"]).encode()
                case "stale":
                    self._nonces.learn(draft.counter, outcome["last_nonce"])
                    if session.is_new:
                        session = replace(session, is_row=True)
                    else:
                        lost = await self._senders.run(key, self._answer_again, key, request, digest, outcome, view)
                        if lost is not None:
                            return lost
                        session = sessions.corrected(session, outcome, request)
                case _ if outcome["code"] == "wrong_clock":
                    await self._database.measure_clock()
                case _:
                    raise refusals.of_commit(outcome["code"], outcome.get("detail"))
        raise Unavailable("busy", "the session is busy, try again")

    async def _draft_elsewhere(
        self,
        key: SigningKey,
        caller: Caller,
        request: PaymentRequest,
        session: Session,
        digest: bytes,
        view: ChainView,
        rate_id: int,
    ) -> tuple[_Draft, asyncio.Future[Outcome]]:
        """The same with a key that keeps us waiting: payments of one offer are drafted and queued one by one.

        Such a key may sign one ticket differently each time. What was signed and not committed is forgotten, and
        the database takes each nonce once, so of two signatures of one ticket one at most is ever answered.
        """
        rand_hash = request.orchestrator.ticket_params.recipient_rand_hash
        async with self._turns.in_line((key.address + rand_hash).hex()):
            draft = await self._senders.run(
                key, self._draft_or_look, key, caller, request, session, digest, view, rate_id
            )
            return draft, self._enqueue(draft)

    def _draft_or_look(
        self,
        key: SigningKey,
        caller: Caller,
        request: PaymentRequest,
        session: Session,
        digest: bytes,
        view: ChainView,
        rate_id: int,
    ) -> _Draft:
        """A draft; or, where something speaks against a payment that may have been made before, a look first."""
        try:
            return self._draft(key, caller, request, session, digest, view, rate_id)
        except (RefreshSession, quotes.NoTickets, quotes.TooManyTickets, ceilings.TicketParamsRefused) as error:
            if session.is_row or (session.is_new and not _came_about(error)):
                raise
            return self._look(key, caller, request, session, digest)

    def _draft(
        self,
        key: SigningKey,
        caller: Caller,
        request: PaymentRequest,
        session: Session,
        digest: bytes,
        view: ChainView,
        rate_id: int,
    ) -> _Draft:
        offer, params = request.orchestrator, request.orchestrator.ticket_params
        now_ns = self._database.now_ns()
        counter = key.address + params.recipient_rand_hash
        last_nonce = max(session.last_nonce(params.recipient_rand_hash), self._nonces.last(counter))
        if last_nonce >= _REFRESH_FROM_NONCE:
            raise RefreshSession(offer.transcoder)
        funds = view.funds_of(key.address)
        self._check_ticket_params(params, view, funds, count=1)
        creation_round, creation_hash = self._creation(params, view)
        quote = self._quote(caller, request, session, view, funds, now_ns)

        first = Ticket(
            recipient=params.recipient,
            sender=key.address,
            face_value=params.face_value,
            win_prob=params.win_prob,
            sender_nonce=last_nonce + 1,
            recipient_rand_hash=params.recipient_rand_hash,
            creation_round=creation_round,
            creation_round_block_hash=creation_hash,
        )
        manifest_id = request.manifest_id or os.urandom(4).hex()
        state = replace(
            session.state,
            kind=request.kind,
            sequence_number=0 if session.is_new else session.state.sequence_number + 1,
            pm_session_id=pm_session_id(params.recipient_rand_hash),
            sender_nonce=last_nonce + quote.tickets,
            balance_wei=quote.balance_after_wei,
            last_update_ns=max(now_ns, session.state.last_update_ns or 0),
        )
        payment = wire.encode_payment(
            params=params,
            sender=key.address,
            creation_round=creation_round,
            creation_round_block_hash=creation_hash,
            first_nonce=first.sender_nonce,
            signatures=key.sign_all(list(ticket_hashes(first, quote.tickets))),
            price_info=offer.price_info,
        )
        answer = _answer(payment, self._seg_creds(key, request, manifest_id), seal(state, self._terms.mac_keys))
        row = {
            **self._place(key, caller, request, session, digest),
            "expected": None if session.is_new else session.state.sequence_number,
            "expected_balance": None if session.is_new else quotes.rational_text(session.state.balance_wei),
            "expected_at": None if session.is_new else _microseconds(session.state.last_update_ns),
            "at": _microseconds(state.last_update_ns),
            "orchestrator": state.orchestrator_address,
            "orchestrator_url": offer.transcoder[:_LONGEST_STORED_URL],
            "recipient": "0x" + params.recipient.hex(),
            "app": request.app,
            "kind": request.kind,
            "manifest_id": manifest_id,
            "first_nonce": first.sender_nonce,
            "tickets": quote.tickets,
            "balance": quotes.rational_text(state.balance_wei),
            "price_per_unit": state.initial_price_per_unit,
            "pixels_per_unit": state.initial_pixels_per_unit,
            "answer": answer,
            "label": _label(request),
            "billed_units": quote.units,
            "fee_wei": math.ceil(quote.fee_wei),
            "cost_wei": quote.cost_wei,
            "rate": rate_id,
            "markup_bps": self._price_rules.markup_bps(caller.customer_id, now_ns=now_ns),
            "face_value_wei": params.face_value,
            "win_prob": params.win_prob,
            "creation_round": creation_round,
            "creation_round_block_hash": creation_hash.hex(),
        }
        return _Draft(
            answer=answer.encode(),
            row=row,
            counter=counter,
            last_nonce=last_nonce + quote.tickets,
        )

    def _look(
        self, key: SigningKey, caller: Caller, request: PaymentRequest, session: Session, digest: bytes
    ) -> _Draft:
        return _Draft(
            answer=b"",
            row={**self._place(key, caller, request, session, digest), "tickets": 0},
            counter=key.address + request.orchestrator.ticket_params.recipient_rand_hash,
            last_nonce=0,
        )

    def _place(
        self, key: SigningKey, caller: Caller, request: PaymentRequest, session: Session, digest: bytes
    ) -> dict[str, Any]:
        """Whose payment it is, and where it belongs."""
        return {
            "customer": caller.customer_id,
            "api_key": caller.api_key_id,
            "session": session.id,
            "presented": session.presented,
            "sender": "0x" + key.address.hex(),
            "rand_hash": request.orchestrator.ticket_params.recipient_rand_hash.hex(),
            "digest": digest.hex(),
        }

    def _enqueue(self, draft: _Draft) -> asyncio.Future[Outcome]:
        # Nobody comes between a draft and its place in the queue: nonces must wait in the order they were taken.
        waiting = self._batch.enqueue(draft.row)
        self._nonces.reserve(draft.counter, draft.last_nonce)
        return waiting

    async def _outcome(self, draft: _Draft, waiting: asyncio.Future[Outcome]) -> Outcome:
        try:
            outcome = await asyncio.shield(waiting)
            if outcome["outcome"] == "committed":
                self._nonces.learn(draft.counter, draft.last_nonce)
            return outcome
        finally:
            self._nonces.release(draft.counter)

    def _quote(
        self,
        caller: Caller,
        request: PaymentRequest,
        session: Session,
        view: ChainView,
        funds: ceilings.SenderFunds,
        now_ns: int,
    ) -> quotes.Quote:
        """The price of the work since the last payment, held against every ceiling and limit."""
        offer, params = request.orchestrator, request.orchestrator.ticket_params
        seconds = session.seconds_until(now_ns)
        quotes.billable_units(request.kind, seconds, request.in_pixels)
        rate = view.rate.nano_usd_per_eth
        ceilings.check_price(
            offer.price(),
            [
                *self._price_rules.ceilings(caller, request, now_ns=now_ns, nano_usd_per_eth=rate),
                (ceilings.REQUEST_CEILING, ceilings.parse_max_price(request.max_price, request.kind)),
                (ceilings.INITIAL_CEILING, None if session.is_new else session.state.initial_price()),
            ],
        )
        quote = quotes.quote(
            kind=request.kind,
            seconds=seconds,
            in_pixels=request.in_pixels,
            price_per_unit=session.state.initial_price_per_unit,
            pixels_per_unit=session.state.initial_pixels_per_unit,
            balance_wei=session.state.balance_wei,
            expected_value_wei=expected_value(params.face_value, params.win_prob),
        )
        initial = Fraction(session.state.initial_price_per_unit, session.state.initial_pixels_per_unit)
        ceilings.check_price_growth(offer.price(), initial)
        self._check_ticket_params(params, view, funds, count=quote.tickets)
        return quote

    def _check_ticket_params(
        self, params: wire.TicketParams, view: ChainView, funds: ceilings.SenderFunds, *, count: int
    ) -> None:
        ceilings.check_ticket_params(
            face_value=params.face_value,
            win_prob=params.win_prob,
            expiration_block=params.expiration_block,
            tickets=count,
            funds=funds,
            limits=self._terms.limits,
            last_seen_l1_block=view.l1_block,
            last_initialized_round=view.last_initialized_round,
        )

    def _creation(self, params: wire.TicketParams, view: ChainView) -> tuple[int, bytes]:
        """The round the tickets name and its block hash: the offer's own, once the chain confirms them."""
        if not params.has_creation_round:
            last = view.last_initialized_round
            if last not in view.round_block_hashes:
                raise Unavailable("round_without_hash", "the chain's current round has no block hash")
            return last, view.round_block_hashes[last]
        if self._recipients.policy != "any":
            _check_round(params, view)
        return params.creation_round, params.creation_round_block_hash

    def _answer_again(
        self, key: SigningKey, request: PaymentRequest, digest: bytes, row: Mapping[str, Any], view: ChainView
    ) -> bytes | None:
        """The stored payment with new segment credentials, where only the offer changed since it was lost.

        None where its ticket parameters expired: then the gap is charged anew.
        """
        stored = bytes.fromhex(row["digest"])
        if row["answer"] is None or not sessions.differs_in_offer_only(digest, stored):
            return None
        lost, params = sessions.read_answer(row["answer"]), request.orchestrator.ticket_params
        lives = lost.expiration_block - view.l1_block > 1
        if not lives or lost.recipient != params.recipient or lost.recipient_rand_hash == params.recipient_rand_hash:
            return None
        return _answer(lost.payment, self._seg_creds(key, request, request.manifest_id), lost.state).encode()

    def _seg_creds(self, key: SigningKey, request: PaymentRequest, manifest_id: str) -> str:
        auth_token = request.orchestrator.auth_token
        assert auth_token is not None
        return wire.encode_seg_creds(
            manifest_id=manifest_id,
            signature=self._seg_signature(key, manifest_id),
            auth_token=auth_token.raw,
            capabilities=request.capabilities,
        )


def _sign_seg_creds(key: SigningKey, manifest_id: str) -> bytes:
    return key.sign_personal(wire.seg_creds_digest(manifest_id))


def _came_about(error: Exception) -> bool:
    """Whether the same opening may have been paid a moment ago: nonces are used up, and our funds fall."""
    return isinstance(error, RefreshSession) or (
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


def _check_round(params: wire.TicketParams, view: ChainView) -> None:
    if params.creation_round == view.last_initialized_round + 1:
        raise Unavailable("round_not_seen", "the tickets' creation round was not seen on the chain yet")
    if view.round_block_hashes.get(params.creation_round) != params.creation_round_block_hash:
        raise Refused(400, "wrong_creation_round", "the tickets' creation round and block hash are not the chain's")


def _label(request: PaymentRequest) -> str:
    """What the usage page calls the work: the app, else the first model."""
    models = [model for _, model in request.models]
    return (request.app or next(iter(models), "")).replace("\0", "")[:_LONGEST_LABEL]


def _microseconds(nanoseconds: int | None) -> int:
    assert nanoseconds is not None
    return nanoseconds // 1000


def _answer(payment: str, seg_creds: str, state: Mapping[str, str]) -> str:
    return (
        f'{{"payment":"{payment}","segCreds":"{seg_creds}",'
        f'"state":{{"State":"{state["State"]}","Sig":"{state["Sig"]}"}}}}'
    )
