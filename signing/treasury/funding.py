"""Funding of deposit and reserve: a row first, one signature, and the same bytes sent until they are mined."""

import logging
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from signing import sender_keys
from signing.chain.answers import CallReverted, Receipt, RpcRefused
from signing.models import TreasuryTransaction
from signing.pm.tickets import keccak256

if TYPE_CHECKING:  # its pages ask for fundings and never ask the chain: they start without its library
    from signing.chain.ethereum import Chain

log = logging.getLogger(__name__)

Status = TreasuryTransaction.Status
IN_FLIGHT = (Status.SIGNED, Status.SENT)
# More ether than there is: such a number is a slip of the keyboard.
LARGEST_FUNDING_WEI = 10**27
# A block's fee may rise while the transaction waits; only the block's own fee is paid.
FEE_HEADROOM = 4


class InvalidFunding(ValueError):
    """These amounts or this sender cannot be funded; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TransactionSigner(Protocol):
    """The treasury's key, as the keystore gives it."""

    @property
    def checksum_address(self) -> str: ...

    def sign_transaction(self, transaction: Mapping[str, Any], /) -> bytes: ...


def request(
    *, sender: str, deposit_wei: int, reserve_wei: int, user: User, request_id: uuid.UUID | None = None
) -> TreasuryTransaction:
    """Writes down the wish; the treasury worker finds the row. Raises InvalidFunding.

    `request_id` comes with the form and makes it one wish: a second one of that id raises IntegrityError.
    """
    for amount in (deposit_wei, reserve_wei):
        if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            raise InvalidFunding("invalid_amount", "Amounts are whole numbers of wei, not negative.")
    if not 0 < deposit_wei + reserve_wei <= LARGEST_FUNDING_WEI:
        raise InvalidFunding("invalid_amount", "Deposit and reserve together must be more than nothing.")
    if not sender or sender.lower() not in sender_keys.ours():
        raise InvalidFunding("unknown_sender", "Only a sender of our own can be funded.")
    return TreasuryTransaction.objects.create(
        id=request_id or uuid.uuid4(),
        kind=TreasuryTransaction.Kind.FUND,
        sender=sender.lower(),
        deposit_wei=deposit_wei,
        reserve_wei=reserve_wei,
        requested_by=user,
    )


def execute_pending(chain: "Chain", key: TransactionSigner) -> None:
    """Brings every unfinished row one step on; run it every few seconds, killed at any point it goes on.

    One transaction at a time is on its way, so nonces never leave a gap. Raises ChainUnavailable.
    """
    for row in TreasuryTransaction.objects.filter(status__in=IN_FLIGHT).order_by("nonce"):
        _push(chain, row)
    _send_what_vanished_again(chain)
    if TreasuryTransaction.objects.filter(status__in=IN_FLIGHT).exists():
        return
    wanted = TreasuryTransaction.objects.filter(status=Status.REQUESTED).order_by("requested_at", "pk").first()
    if wanted is not None and _sign(chain, key, wanted):
        _push(chain, TreasuryTransaction.objects.get(pk=wanted.pk))


def _sign(chain: "Chain", key: TransactionSigner, row: TreasuryTransaction) -> bool:
    """The one signature of a row, stored with its nonce before anything is sent."""
    # The row was written where pages are served; who may be paid is decided where the key is.
    if row.sender not in sender_keys.ours():
        return _fail(row, "Only a sender of our own can be funded.")
    wallet, value_wei = key.checksum_address, row.deposit_wei + row.reserve_wei
    balance_wei = chain.balance(wallet, block="latest")
    if balance_wei < value_wei:
        return _fail(row, f"The treasury wallet holds {balance_wei} wei, {value_wei} are to be sent.")
    try:
        to, data, gas = chain.transaction_to(
            "TicketBroker",
            "fundDepositAndReserveFor",
            row.sender,
            row.deposit_wei,
            row.reserve_wei,
            sender=wallet,
            value_wei=value_wei,
        )
    except CallReverted as error:
        return _fail(row, f"The contract refuses: {error.message}")
    tip_wei = chain.priority_fee_wei()
    max_fee_wei = FEE_HEADROOM * chain.header("latest").base_fee_wei + tip_wei
    # The L1 part of the gas moves with Ethereum's fees between the estimate and the block.
    gas_limit = gas * 3 // 2
    if balance_wei < value_wei + gas_limit * max_fee_wei:
        return _fail(row, f"The treasury wallet holds {balance_wei} wei: not enough for {value_wei} wei and gas.")
    nonce = chain.nonce(wallet, block="latest")
    raw = key.sign_transaction(
        {
            "type": 2,
            "chainId": chain.chain_id(),
            "nonce": nonce,
            "to": to,
            "value": value_wei,
            "data": data,
            "gas": gas_limit,
            "maxFeePerGas": max_fee_wei,
            "maxPriorityFeePerGas": tip_wei,
        }
    )
    return _store(row, wallet=wallet, nonce=nonce, raw=raw)


def _store(row: TreasuryTransaction, *, wallet: str, nonce: int, raw: bytes) -> bool:
    """False when another worker signed this row or took this nonce: its bytes count, ours are forgotten."""
    try:
        with transaction.atomic():
            stored = TreasuryTransaction.objects.filter(pk=row.pk, status=Status.REQUESTED).update(
                status=Status.SIGNED,
                from_address=wallet.lower(),
                nonce=nonce,
                raw_transaction=raw,
                tx_hash="0x" + keccak256(raw).hex(),
                updated_at=Now(),
            )
    except IntegrityError:
        log.warning("nonce %d of the treasury wallet is taken by another row", nonce)
        return False
    return stored == 1


def _push(chain: "Chain", row: TreasuryTransaction) -> None:
    """Records the receipt, or hands the same bytes to the network once more."""
    receipt = chain.receipt(row.tx_hash)
    if receipt is not None:
        _record(row, receipt)
        return
    try:
        assert row.raw_transaction is not None, "a signed row keeps its bytes"
        chain.send_raw(bytes(row.raw_transaction))
    except RpcRefused as error:
        # Known already, too cheap for now, or its nonce is gone: only the last can never be mined.
        _give_up_or_wait(chain, row, error.message)
        return
    TreasuryTransaction.objects.filter(pk=row.pk, status=Status.SIGNED).update(
        status=Status.SENT, error="", updated_at=Now()
    )
    receipt = chain.receipt(row.tx_hash)
    if receipt is not None:
        _record(row, receipt)


def _give_up_or_wait(chain: "Chain", row: TreasuryTransaction, reason: str) -> None:
    final = chain.header(settings.FINALITY_TAG).number
    if row.nonce is not None and chain.nonce(row.from_address, block=final) > row.nonce:
        if chain.receipt(row.tx_hash) is None:
            _fail(row, "Another transaction of the treasury wallet took its nonce.")
        return
    TreasuryTransaction.objects.filter(pk=row.pk, status__in=IN_FLIGHT).exclude(error=reason).update(
        error=reason, updated_at=Now()
    )


def _record(row: TreasuryTransaction, receipt: Receipt) -> None:
    TreasuryTransaction.objects.filter(pk=row.pk).filter(
        Q(status__in=IN_FLIGHT) | Q(block_number__isnull=False, gas_journal=None)
    ).update(
        status=Status.CONFIRMED if receipt.succeeded else Status.FAILED,
        block_number=receipt.block_number,
        gas_cost_wei=receipt.gas_cost_wei,
        error="" if receipt.succeeded else "The transaction was mined and reverted.",
        updated_at=Now(),
    )


def _send_what_vanished_again(chain: "Chain") -> None:
    """A block that is not final may go; then the same bytes go out again."""
    mined = TreasuryTransaction.objects.filter(gas_journal=None, block_number__isnull=False)
    if not mined.exists():
        return
    for row in mined.filter(block_number__gt=chain.header(settings.FINALITY_TAG).number):
        receipt = chain.receipt(row.tx_hash)
        if receipt is None:
            TreasuryTransaction.objects.filter(pk=row.pk, gas_journal=None).update(
                status=Status.SENT, block_number=None, gas_cost_wei=None, error="", updated_at=Now()
            )
        elif receipt.block_number != row.block_number:
            _record(row, receipt)


def _fail(row: TreasuryTransaction, reason: str) -> bool:
    """Always False, for callers that tell whether they went on."""
    TreasuryTransaction.objects.filter(pk=row.pk, status__in=(Status.REQUESTED, *IN_FLIGHT)).update(
        status=Status.FAILED, error=reason[:300], updated_at=Now()
    )
    return False
