"""From the broker's events to redeemed tickets: what each was worth, what was paid, and whose it was."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from signing.chain.answers import Log
from signing.models import Payment
from signing.pm.tickets import MAX_INT64, MAX_UINT32, Ticket, keccak256

CLAIMED = "ReserveClaimed"
PAID = "WinningTicketTransfer"
REDEEMED = "WinningTicketRedeemed"


class UnexpectedEvents(Exception):
    """The broker's events do not follow its rules; nothing is booked until somebody has looked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedeemedTicket:
    """A ticket as its redemption reveals it; `paid_wei` may be less than its face value, even nothing."""

    log: Log
    ticket_hash: bytes
    recipient_rand_hash: bytes
    sender_nonce: int
    creation_round: int
    face_value_wei: int
    paid_wei: int
    from_reserve_wei: int

    @property
    def recipient(self) -> str:
        return str(self.log.arguments["recipient"])

    @property
    def sender(self) -> str:
        return str(self.log.arguments["sender"])


def redeemed_tickets(logs: Iterable[Log]) -> Iterator[RedeemedTicket]:
    """One for each WinningTicketRedeemed, in order.

    The broker emits [ReserveClaimed,] [WinningTicketTransfer,] WinningTicketRedeemed for one ticket, in one
    transaction, and several such groups for a batch. Raises UnexpectedEvents.
    """
    before: list[Log] = []
    for log in logs:
        if before and log.tx_hash != before[0].tx_hash:
            raise UnexpectedEvents(f"a payment without its ticket in {before[0].tx_hash}")
        if log.name in (CLAIMED, PAID):
            before.append(log)
        elif log.name == REDEEMED:
            yield _redeemed(log, before)
            before = []
        elif before:
            raise UnexpectedEvents(f"a payment without its ticket in {log.tx_hash}")
    if before:
        raise UnexpectedEvents(f"a payment without its ticket in {before[0].tx_hash}")


def issued_payment(ticket: RedeemedTicket) -> Payment | None:
    """The payment this very ticket was issued with: every field of it must agree, so its hash does."""
    if ticket.sender_nonce > MAX_UINT32 or ticket.creation_round > MAX_INT64:
        return None
    candidates = Payment.objects.filter(
        sender=ticket.sender,
        creation_round=ticket.creation_round,
        recipient_rand_hash=ticket.recipient_rand_hash,
        first_nonce__lte=ticket.sender_nonce,
    ).order_by("-first_nonce")
    for payment in candidates:
        if (
            ticket.sender_nonce < payment.first_nonce + payment.tickets
            and _issued_hash(payment, ticket.sender_nonce) == ticket.ticket_hash
        ):
            return payment
    return None


def _redeemed(log: Log, before: list[Log]) -> RedeemedTicket:
    names = [earlier.name for earlier in before]
    if names not in ([], [PAID], [CLAIMED, PAID]):
        raise UnexpectedEvents(f"{' and '.join(names)} before a redemption in {log.tx_hash}")
    who = {str(earlier.arguments["claimant" if earlier.name == CLAIMED else "recipient"]) for earlier in before}
    if who - {str(log.arguments["recipient"])}:
        raise UnexpectedEvents(f"a payment to somebody else than the recipient in {log.tx_hash}")
    amounts = {earlier.name: int(earlier.arguments["amount"]) for earlier in before}
    recipient_rand_hash = keccak256(int(log.arguments["recipientRand"]).to_bytes(32))
    return RedeemedTicket(
        log=log,
        ticket_hash=_revealed_hash(log, recipient_rand_hash),
        recipient_rand_hash=recipient_rand_hash,
        sender_nonce=int(log.arguments["senderNonce"]),
        creation_round=int.from_bytes(_bytes(log.arguments["auxData"])[:32]),
        face_value_wei=int(log.arguments["faceValue"]),
        paid_wei=amounts.get(PAID, 0),
        from_reserve_wei=amounts.get(CLAIMED, 0),
    )


def _revealed_hash(log: Log, recipient_rand_hash: bytes) -> bytes:
    """As the contract computes it; a foreign ticket's nonce may be wider than any we would sign."""
    arguments = log.arguments
    numbers = (int(arguments[name]).to_bytes(32) for name in ("faceValue", "winProb", "senderNonce"))
    return keccak256(
        _bytes(arguments["recipient"])
        + _bytes(arguments["sender"])
        + b"".join(numbers)
        + recipient_rand_hash
        + _bytes(arguments["auxData"])
    )


def _issued_hash(payment: Payment, nonce: int) -> bytes:
    return Ticket(
        recipient=_bytes(payment.recipient),
        sender=_bytes(payment.sender),
        face_value=payment.face_value_wei,
        win_prob=payment.win_prob,
        sender_nonce=nonce,
        recipient_rand_hash=bytes(payment.recipient_rand_hash),
        creation_round=payment.creation_round,
        creation_round_block_hash=bytes(payment.creation_round_block_hash),
    ).hash()


def _bytes(text: int | str) -> bytes:
    return bytes.fromhex(str(text)[2:])
