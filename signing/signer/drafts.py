"""Drafting a payment: what it says, signed, and the row that commits it. Nothing here waits or writes."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from signing.chain.view import ChainView
from signing.pm import ceilings, quotes, wire
from signing.pm.state import address_text, pm_session_id, seal
from signing.pm.tickets import Ticket, expected_value, ticket_hashes
from signing.pm.wire import PaymentRequest, TicketParams
from signing.signer.asked_payments import AskedPayment, asked_payment
from signing.signer.authentication import Caller
from signing.signer.gate import Visitor
from signing.signer.keystore import SigningKey
from signing.signer.price_rules import PriceRules
from signing.signer.refusals import RefreshSession, Refused, Unavailable
from signing.signer.sessions import Session
from signing.signer.stored_answers import answer_text, kept

# An orchestrator takes 600 nonces for one rand hash, and one payment may add 100.
_REFRESH_FROM_NONCE = 500
_MANIFESTS_REMEMBERED = 4096
_LONGEST_LABEL = 256
_LONGEST_STORED_URL = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator allows of every ticket, and the keys that seal states.

    Where `any_round` is set tickets may name a creation round that the chain does not confirm.
    """

    limits: ceilings.TicketLimits
    mac_keys: Sequence[bytes]
    any_round: bool


@dataclass(slots=True)
class Work:
    """A payment to be made: who asks by which key, what, in which session, and what is known of chain and rate.

    `counter` names whose nonces the tickets take: those of a sender and a recipient rand hash.
    """

    key: SigningKey
    visitor: Visitor
    request: PaymentRequest
    session: Session
    digest: bytes
    view: ChainView
    rate_id: int
    counter: bytes

    @property
    def caller(self) -> Caller:
        return self.visitor.caller


@dataclass(slots=True)
class Draft:
    """A signed payment that may not leave yet, and the row that commits it."""

    answer: bytes
    row: AskedPayment
    counter: bytes
    last_nonce: int


class Drafting:
    """Prices, checks and signs."""

    def __init__(self, terms: Terms, price_rules: PriceRules) -> None:
        self._terms = terms
        self._price_rules = price_rules
        self._seg_signature = lru_cache(_MANIFESTS_REMEMBERED)(_sign_seg_creds)

    def draft(self, work: Work, *, last_nonce: int, now_ns: int) -> Draft:
        """The payment whose tickets follow `last_nonce`, at `now_ns` in the database's time, whole microseconds.

        Raises RefreshSession, Unavailable, Refused, and whatever the pure rooms refuse.
        """
        key, request, session = work.key, work.request, work.session
        params = request.orchestrator.ticket_params
        if last_nonce >= _REFRESH_FROM_NONCE:
            raise RefreshSession(request.orchestrator.transcoder)
        self._check_ticket_params(work, tickets=1)
        creation_round, creation_hash = self._creation(params, work.view)
        quote = self._quote(work, now_ns)

        first_nonce, last_nonce = last_nonce + 1, last_nonce + quote.tickets
        manifest_id = request.manifest_id or os.urandom(4).hex()
        state = session.state.paid(
            kind=request.kind,
            sequence_number=0 if session.is_new else session.state.sequence_number + 1,
            pm_session_id=pm_session_id(params.recipient_rand_hash),
            sender_nonce=last_nonce,
            balance_wei=quote.balance_after_wei,
            last_update_ns=max(now_ns, session.state.last_update_ns or 0),
        )
        first = Ticket(
            recipient=params.recipient,
            sender=key.address,
            face_value=params.face_value,
            win_prob=params.win_prob,
            sender_nonce=first_nonce,
            recipient_rand_hash=params.recipient_rand_hash,
            creation_round=creation_round,
            creation_round_block_hash=creation_hash,
        )
        # Right after each other: a signature pushes what the rest works with out of the core's cache.
        signatures = key.sign_all(ticket_hashes(first, quote.tickets))
        seg_creds = self.seg_creds(work, manifest_id)
        payment = wire.encode_payment(
            params=params,
            sender=key.address,
            creation_round=creation_round,
            creation_round_block_hash=creation_hash,
            first_nonce=first_nonce,
            signatures=signatures,
            price_info=request.orchestrator.price_info,
        )
        balance = quotes.rational_text(state.balance_wei)
        sealed = seal(state, self._terms.mac_keys, balance)
        before = None if session.is_new else session.state
        row = asked_payment(
            customer=work.caller.customer_id,
            api_key=work.caller.api_key_id,
            session=bytes.fromhex(session.id),
            rand_hash=params.recipient_rand_hash,
            digest=work.digest,
            sender=address_text(key.address),
            presented=session.presented,
            expected=before and before.sequence_number,
            expected_at=before and _microseconds(before.last_update_ns),
            expected_balance=before and quotes.rational_text(before.balance_wei),
            tickets=quote.tickets,
            at=_microseconds(state.last_update_ns),
            first_nonce=first_nonce,
            price_per_unit=state.initial_price_per_unit,
            pixels_per_unit=state.initial_pixels_per_unit,
            rate=work.rate_id,
            markup_bps=self._price_rules.markup_bps(work.caller.customer_id, now_ns=now_ns),
            creation_round=creation_round,
            creation_round_block_hash=creation_hash,
            answer=kept(payment, seg_creds, sealed),
            orchestrator=state.orchestrator_address,
            orchestrator_url=request.orchestrator.transcoder[:_LONGEST_STORED_URL],
            recipient=address_text(params.recipient),
            app=request.app,
            kind=request.kind,
            manifest_id=manifest_id,
            label=_label(request),
            balance=balance,
            billed_units=str(quote.units),
            fee_wei=str(math.ceil(quote.fee_wei)),
            cost_wei=str(quote.cost_wei),
            face_value_wei=str(params.face_value),
            win_prob=str(params.win_prob),
            client_ip=work.visitor.address or None,
            user_agent=work.visitor.user_agent,
            gateway_request_id=request.gateway_request_id,
            attribution_source=request.attribution_source,
        )
        return Draft(answer_text(payment, seg_creds, sealed).encode(), row, work.counter, last_nonce)

    def seg_creds(self, work: Work, manifest_id: str) -> bytes:
        """The segment credential message; the sender signs a manifest id once while it is remembered."""
        auth_token = work.request.orchestrator.auth_token
        assert auth_token is not None
        return wire.encode_seg_creds(
            manifest_id=manifest_id,
            signature=self._seg_signature(work.key, manifest_id),
            auth_token=auth_token.raw,
            capabilities=work.request.capabilities,
        )

    def _quote(self, work: Work, now_ns: int) -> quotes.Quote:
        """The price of the work since the last payment, held against every ceiling and limit."""
        request, session, state = work.request, work.session, work.session.state
        params = request.orchestrator.ticket_params
        seconds = session.seconds_until(now_ns)
        units = quotes.billable_units(request.kind, seconds, request.in_pixels)
        price = request.orchestrator.price()
        initial = price if session.is_new else state.initial_price()
        limits = self._price_rules.ceilings(
            work.caller, request, now_ns=now_ns, nano_usd_per_eth=work.view.rate.nano_usd_per_eth
        )
        if request.max_price:
            limits += ((ceilings.REQUEST_CEILING, ceilings.parse_max_price(request.max_price, request.kind)),)
        if not session.is_new:
            limits += ((ceilings.INITIAL_CEILING, initial),)
        ceilings.check_price(price, limits)
        quotes.check_elapsed(request.kind, seconds)
        first_price = state.initial_price_per_unit, state.initial_pixels_per_unit
        if session.is_new:
            quote = quotes.opening_quote(units, *first_price, params.face_value, params.win_prob)
        else:
            worth = expected_value(params.face_value, params.win_prob)
            quote = quotes.quote_units(units, *first_price, state.balance_wei, worth)
        ceilings.check_price_growth(price, initial)
        if quote.tickets > 1:
            self._check_ticket_params(work, tickets=quote.tickets)
        return quote

    def _check_ticket_params(self, work: Work, *, tickets: int) -> None:
        params = work.request.orchestrator.ticket_params
        ceilings.check_ticket_params(
            face_value=params.face_value,
            win_prob=params.win_prob,
            expiration_block=params.expiration_block,
            tickets=tickets,
            funds=work.view.funds_of(work.key.address),
            limits=self._terms.limits,
            last_seen_l1_block=work.view.l1_block,
            last_initialized_round=work.view.last_initialized_round,
        )

    def _creation(self, params: TicketParams, view: ChainView) -> tuple[int, bytes]:
        """The round the tickets name and its block hash: the offer's own, once the chain confirms them."""
        if not params.has_creation_round:
            last = view.last_initialized_round
            if last not in view.round_block_hashes:
                raise Unavailable("round_without_hash", "the chain's current round has no block hash")
            return last, view.round_block_hashes[last]
        if not self._terms.any_round:
            _check_round(params, view)
        return params.creation_round, params.creation_round_block_hash


def look(work: Work) -> Draft:
    """Asks for the row, or for the stored answer, and pays nothing."""
    params = work.request.orchestrator.ticket_params
    row = asked_payment(
        customer=work.caller.customer_id,
        api_key=work.caller.api_key_id,
        session=bytes.fromhex(work.session.id),
        rand_hash=params.recipient_rand_hash,
        creation_round=params.creation_round if params.has_creation_round else work.view.last_initialized_round,
        digest=work.digest,
        sender=address_text(work.key.address),
        presented=work.session.presented,
    )
    return Draft(b"", row, work.counter, 0)


def _sign_seg_creds(key: SigningKey, manifest_id: str) -> bytes:
    return key.sign_personal(wire.seg_creds_digest(manifest_id))


def _check_round(params: TicketParams, view: ChainView) -> None:
    if params.creation_round == view.last_initialized_round + 1:
        raise Unavailable("round_not_seen", "the tickets' creation round was not seen on the chain yet")
    if view.round_block_hashes.get(params.creation_round) != params.creation_round_block_hash:
        raise Refused(400, "wrong_creation_round", "the tickets' creation round and block hash are not the chain's")


def _label(request: PaymentRequest) -> str:
    """What the usage page calls the work: the app, else the first model."""
    label = request.app or (request.models[0][1] if request.models else "")
    return label.replace("\0", "")[:_LONGEST_LABEL]


def _microseconds(nanoseconds: int | None) -> int:
    assert nanoseconds is not None
    return nanoseconds // 1000
