"""The recipient of tickets: it issues their parameters and judges every ticket that comes back."""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from sandbox.orchestrator import params
from sandbox.orchestrator.chain import ChainState, SenderInfo, Winner
from sandbox.orchestrator.signatures import signed_by
from sandbox.orchestrator.terms import Price, Terms
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import Ticket, is_winner

MAX_NONCES = 600  # per recipient rand hash
_REDEEM_GAS = 1_200_000
_SHOWN_HASHES = 2_000


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a ticket was not credited; `code` is stable, `text` is for people."""

    code: str
    text: str


SENDER_UNLOCKING = Refusal(
    code="sender_unlocking", text="unable to validate sender: deposit and reserve is set to unlock soon"
)
WRONG_RECIPIENT = Refusal(code="wrong_recipient", text="invalid ticket recipient")
NO_SENDER = Refusal(code="no_sender", text="invalid ticket sender")
BAD_RAND = Refusal(code="invalid_recipient_rand", text="invalid recipientRand for ticket recipientRandHash")
BAD_SIGNATURE = Refusal(code="invalid_signature", text="invalid ticket signature")
NONCE_SEEN = Refusal(code="nonce_seen", text="invalid ticket senderNonce: already seen")
TOO_MANY_NONCES = Refusal(code="too_many_nonces", text="invalid ticket senderNonce: too many values")
EXPIRED = Refusal(code="params_expired", text="TicketParams expired")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one payment brought: the value of the accepted tickets in wei, and the last refusal, if any."""

    accepted: int
    value_wei: Fraction
    refusal: Refusal | None


@dataclass
class Recipient:
    """One recipient address with the secret behind its tickets. `keep_winner` must be durable on return."""

    address: bytes
    terms: Terms
    keep_winner: Callable[[Winner], None]
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tickets_by_hash: dict[str, int] = field(default_factory=dict)
    _nonces: dict[bytes, set[int]] = field(default_factory=dict)
    _expiry: dict[bytes, int] = field(default_factory=dict)

    def quote(
        self, sender: bytes, sender_info: SenderInfo, chain: ChainState, price: Price, ticket_ev_wei: int
    ) -> pb.TicketParams:
        """New ticket parameters for the sender. Raises params.InsufficientSenderReserve."""
        face_value = params.face_value(
            price=price.ratio,
            ticket_ev_wei=ticket_ev_wei,
            gas_price_wei=0,  # gas costs nothing here, so a ticket need not be large to be worth redeeming
            redeem_gas=_REDEEM_GAS,
            tx_cost_multiplier=100,
            max_float_wei=params.max_float(
                reserve_wei=sender_info.reserve_wei,
                claimed_wei=sender_info.claimed_wei,
                already_claimed_wei=sender_info.claimed_by_us_wei,
                pool_size=chain.pool_size,
            ),
            max_face_value_wei=self.terms.max_face_value_wei,
        )
        win_prob = params.win_prob(face_value, ticket_ev_wei)
        seed, expiration_block = secrets.randbits(256), chain.l1_block + self.terms.expiry_blocks
        aux_data = params.aux_data(chain.creation_round, chain.creation_round_block_hash)
        rand = params.recipient_rand(
            self.secret, seed, sender, face_value, win_prob, expiration_block, price.ratio, aux_data
        )
        return pb.TicketParams(
            recipient=self.address,
            face_value=params.minimal_bytes(face_value),
            win_prob=params.minimal_bytes(win_prob),
            recipient_rand_hash=params.recipient_rand_hash(rand),
            seed=params.minimal_bytes(seed),
            expiration_block=params.minimal_bytes(expiration_block),
            expiration_params=pb.TicketExpirationParams(
                creation_round=chain.creation_round,
                creation_round_block_hash=chain.creation_round_block_hash,
            ),
        )

    def receive(self, payment: pb.Payment, price: Price, sender_info: SenderInfo, chain: ChainState) -> Receipt:
        """Judge the tickets in order.

        What is wrong with the whole payment ends it at once. What is wrong with one ticket lets the rest be
        looked at (they may have won), but from the first refusal on none is credited.
        """
        self._forget_expired(chain.l1_block)
        if not payment.ticket_sender_params:
            return Receipt(accepted=0, value_wei=Fraction(0), refusal=None)
        rand = self._recipient_rand(payment, price)
        refusal = self._fatal(payment, rand, sender_info, chain)
        if refusal is not None:
            self.refused[refusal.code] += len(payment.ticket_sender_params)
            return Receipt(accepted=0, value_wei=Fraction(0), refusal=refusal)
        accepted, value_wei, last_refusal = 0, Fraction(0), None
        for sender_params in payment.ticket_sender_params:
            ticket = _ticket(payment, sender_params)
            refusal = self._judge(ticket, sender_params.sig, rand, payment, chain)
            if refusal is not None:
                self.refused[refusal.code] += 1
                last_refusal = refusal
            elif last_refusal is None:
                accepted, value_wei = accepted + 1, value_wei + ticket.expected_value()
        self.accepted += accepted
        return Receipt(accepted=accepted, value_wei=value_wei, refusal=last_refusal)

    def _recipient_rand(self, payment: pb.Payment, price: Price) -> int:
        terms, expiration = payment.ticket_params, payment.expiration_params
        return params.recipient_rand(
            self.secret,
            int.from_bytes(terms.seed),
            payment.sender,
            int.from_bytes(terms.face_value),
            int.from_bytes(terms.win_prob),
            int.from_bytes(terms.expiration_block),
            price.ratio,
            params.aux_data(abs(expiration.creation_round), expiration.creation_round_block_hash),
        )

    def _fatal(self, payment: pb.Payment, rand: int, sender_info: SenderInfo, chain: ChainState) -> Refusal | None:
        withdraw_round = sender_info.withdraw_round
        if withdraw_round and withdraw_round <= chain.last_initialized_round + 1:
            return SENDER_UNLOCKING
        if payment.ticket_params.recipient != self.address:
            return WRONG_RECIPIENT
        if len(payment.sender) != 20 or not any(payment.sender):
            return NO_SENDER
        creation = payment.expiration_params
        well_formed = creation.creation_round >= 0 and len(creation.creation_round_block_hash) == 32
        if not well_formed or params.recipient_rand_hash(rand) != payment.ticket_params.recipient_rand_hash:
            return BAD_RAND
        return None

    def _judge(
        self, ticket: Ticket, signature: bytes, rand: int, payment: pb.Payment, chain: ChainState
    ) -> Refusal | None:
        if not signed_by(ticket.sender, ticket.hash(), signature):
            return BAD_SIGNATURE
        if is_winner(signature, rand, ticket.win_prob):
            self.keep_winner(Winner(ticket=ticket, signature=signature, recipient_rand=rand))
        expiration_block = int.from_bytes(payment.ticket_params.expiration_block)
        nonces = self._nonces.setdefault(ticket.recipient_rand_hash, set())
        self._expiry[ticket.recipient_rand_hash] = expiration_block
        if ticket.sender_nonce in nonces:
            return NONCE_SEEN
        if len(nonces) >= MAX_NONCES:
            return TOO_MANY_NONCES
        nonces.add(ticket.sender_nonce)
        self._count(ticket.recipient_rand_hash)
        return EXPIRED if expiration_block <= chain.l1_block else None

    def _count(self, recipient_rand_hash: bytes) -> None:
        shown = self.tickets_by_hash
        shown[recipient_rand_hash.hex()] = shown.get(recipient_rand_hash.hex(), 0) + 1
        while len(shown) > _SHOWN_HASHES:
            del shown[next(iter(shown))]

    def _forget_expired(self, l1_block: int) -> None:
        for key in [key for key, expiry in self._expiry.items() if expiry <= l1_block]:
            del self._expiry[key], self._nonces[key]


def _ticket(payment: pb.Payment, sender_params: pb.TicketSenderParams) -> Ticket:
    terms, expiration = payment.ticket_params, payment.expiration_params
    return Ticket(
        recipient=terms.recipient,
        sender=payment.sender,
        face_value=int.from_bytes(terms.face_value),
        win_prob=int.from_bytes(terms.win_prob),
        sender_nonce=sender_params.sender_nonce,
        recipient_rand_hash=terms.recipient_rand_hash,
        creation_round=expiration.creation_round,
        creation_round_block_hash=expiration.creation_round_block_hash,
    )
