"""The cast of the chain's stories: a sandbox chain, our sender and treasury on it, issued and redeemed tickets."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection
from pytest_django import Settings

from accounts.models import Customer
from sandbox.chain.client import SandboxChain, running_chain
from signing.chain.ethereum import Chain
from signing.pm.tickets import MAX_UINT256, Ticket, keccak256
from signing.signer.keystore import Keystore
from tests import builders

ETHER = 10**18
SAFE_DEPTH = 3


@contextmanager
def quiet_chain(folder: Path, **options: int) -> Iterator[SandboxChain]:
    """A block per transaction and none without; rounds are long, `safe` is three blocks behind."""
    with running_chain(folder, round_length=500, safe_depth=SAFE_DEPTH, finalized_depth=6, **options) as chain:
        yield chain


def point_at(settings: Settings, sandbox: SandboxChain) -> None:
    settings.ETH_RPC_URLS = [sandbox.rpc_url]
    settings.CONTROLLER_ADDRESS = sandbox.controller_address
    settings.ETH_USD_FEED_ADDRESS = sandbox.eth_usd_feed_address
    settings.SENDER_ADDRESS = sandbox.accounts["sender"].address
    settings.TREASURY_ADDRESS = sandbox.accounts["treasury"].address
    settings.FINALITY_TAG = "safe"


def connected(sandbox: SandboxChain) -> Chain:
    return Chain([sandbox.rpc_url], controller=sandbox.controller_address)


def key_of(sandbox: SandboxChain, role: str) -> Keystore:
    return Keystore(bytes.fromhex(sandbox.accounts[role].private_key[2:]))


def finalise(sandbox: SandboxChain) -> None:
    """Makes everything that was mined so far safe."""
    sandbox.mine(SAFE_DEPTH + 1)


def fund(
    sandbox: SandboxChain, *, deposit: int, reserve: int, role: str = "treasury", sender: str = ""
) -> dict[str, Any]:
    """Straight from a dev account, without a row of ours."""
    sender = sender or sandbox.accounts["sender"].address
    return sandbox.send(
        role, "TicketBroker", "fundDepositAndReserveFor", sender, deposit, reserve, value_wei=deposit + reserve
    )


@dataclass(frozen=True, kw_only=True)
class Issued:
    """Signed tickets of one payment, all of them winners, and the number their recipient keeps secret."""

    tickets: tuple[Ticket, ...]
    signatures: tuple[bytes, ...]
    recipient_rand: int
    usage_id: int | None
    customer: Customer | None

    def arguments(self, index: int = 0) -> tuple[tuple[Any, ...], bytes, int]:
        """What redeemWinningTicket takes."""
        ticket = self.tickets[index]
        aux_data = ticket.creation_round.to_bytes(32) + ticket.creation_round_block_hash
        fields = (ticket.recipient, ticket.sender, ticket.face_value, ticket.win_prob, ticket.sender_nonce)
        return (*fields, ticket.recipient_rand_hash, aux_data), self.signatures[index], self.recipient_rand


def sign_tickets(
    sandbox: SandboxChain,
    *,
    face_value: int,
    count: int = 1,
    first_nonce: int = 1,
    role: str = "orchestrator",
    key: Keystore | None = None,
) -> Issued:
    """Tickets nobody wrote down: what somebody with a stolen key could make."""
    key, rand = key or key_of(sandbox, "sender"), secrets.randbits(256)
    creation_round = sandbox.read("RoundsManager", "lastInitializedRound")
    tickets = tuple(
        Ticket(
            recipient=bytes.fromhex(sandbox.accounts[role].address[2:]),
            sender=key.address,
            face_value=face_value,
            win_prob=MAX_UINT256,
            sender_nonce=nonce,
            recipient_rand_hash=keccak256(rand.to_bytes(32)),
            creation_round=creation_round,
            creation_round_block_hash=sandbox.read("RoundsManager", "blockHashForRound", creation_round),
        )
        for nonce in range(first_nonce, first_nonce + count)
    )
    signatures = tuple(key.sign_personal(ticket.hash()) for ticket in tickets)
    return Issued(tickets=tickets, signatures=signatures, recipient_rand=rand, usage_id=None, customer=None)


def issue(
    sandbox: SandboxChain,
    owner: Customer,
    *,
    face_value: int,
    count: int = 1,
    first_nonce: int = 1,
    role: str = "orchestrator",
    nano_usd_per_eth: int = 3_000 * 10**9,
    feed_round: int = 1,
    key: Keystore | None = None,
) -> Issued:
    """Tickets charged to a customer and written down, as the signer's commit does."""
    made = sign_tickets(sandbox, face_value=face_value, count=count, first_nonce=first_nonce, role=role, key=key)
    first, session = made.tickets[0], uuid.uuid4()
    recipient = "0x" + first.recipient.hex()
    api_key = owner.api_keys.first() or builders.api_key(owner)
    rate = builders.rate(nano_usd_per_eth, feed_round)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_id, refusal FROM billing_debit"
            "(%s, %s, %s, 'app', 'live', %s, %s, 'ticket', 10, %s, %s, %s, 1500)",
            [owner.pk, api_key.pk, session, recipient, count, face_value, count * face_value, rate],
        )
        usage_id, refusal = cursor.fetchone()
        assert refusal is None, refusal
        cursor.execute(
            "INSERT INTO signing_payment (customer_id, session_id, usage_id, sender, recipient, recipient_rand_hash,"
            " first_nonce, tickets, face_value_wei, win_prob, creation_round, creation_round_block_hash)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                owner.pk,
                session,
                usage_id,
                "0x" + first.sender.hex(),
                recipient,
                first.recipient_rand_hash,
                first_nonce,
                count,
                face_value,
                first.win_prob,
                first.creation_round,
                first.creation_round_block_hash,
            ],
        )
    return Issued(
        tickets=made.tickets,
        signatures=made.signatures,
        recipient_rand=made.recipient_rand,
        usage_id=usage_id,
        customer=owner,
    )


def redeem(sandbox: SandboxChain, issued: Issued, index: int = 0) -> dict[str, Any]:
    return sandbox.send("redeemer", "TicketBroker", "redeemWinningTicket", *issued.arguments(index))


def redeem_batch(sandbox: SandboxChain, issued: Issued) -> dict[str, Any]:
    each = [issued.arguments(index) for index in range(len(issued.tickets))]
    tickets, signatures, rands = ([part[at] for part in each] for at in range(3))
    return sandbox.send("redeemer", "TicketBroker", "batchRedeemWinningTickets", tickets, signatures, rands)
