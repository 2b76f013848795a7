"""Runs one message or one transaction on a world; knows gas, refunds and revert texts, no blocks."""

from dataclasses import dataclass

from eth.abc import ComputationAPI
from eth.constants import CREATE_CONTRACT_ADDRESS, GAS_TX, GAS_TXCREATE
from eth.exceptions import Revert
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.message import Message
from eth_abi.abi import decode
from eth_typing import Address

from sandbox.chain.encoding import keccak, rlp_encode
from sandbox.chain.world import World

type AccessList = tuple[tuple[bytes, tuple[int, ...]], ...]

ERROR_SELECTOR = bytes.fromhex("08c379a0")
PANIC_SELECTOR = bytes.fromhex("4e487b71")
PANIC_TEXTS = {
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x32: "out-of-bounds access of an array or bytesN",
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A message from outside; `to` None creates a contract. Amounts in wei."""

    sender: bytes
    to: bytes | None
    data: bytes
    value_wei: int
    gas: int
    gas_price_wei: int
    access_list: AccessList = ()


@dataclass(frozen=True, kw_only=True)
class Log:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`error` is None on success, else a geth-like text; a revert's data are in `output`."""

    output: bytes
    gas_used: int
    gas_refunded: int
    logs: tuple[Log, ...]
    error: str | None
    reverted: bool
    created: bytes | None


def intrinsic_gas(call: Call) -> int:
    zeros = call.data.count(0)
    gas = GAS_TX + 4 * zeros + 16 * (len(call.data) - zeros)
    if call.to is None:
        gas += GAS_TXCREATE + 2 * ((len(call.data) + 31) // 32)
    return gas + sum(2_400 + 1_900 * len(slots) for _, slots in call.access_list)


def create_address(sender: bytes, nonce: int) -> bytes:
    return keccak(rlp_encode([sender, nonce]))[12:]


def revert_text(data: bytes) -> str:
    """The text geth makes of revert data: the reason, a panic's meaning, or nothing more than the fact."""
    if data[:4] == ERROR_SELECTOR:
        return f"execution reverted: {decode(['string'], data[4:])[0]}"
    if data[:4] == PANIC_SELECTOR and len(data) == 36:
        code = int.from_bytes(data[4:], "big")
        return f"execution reverted: {PANIC_TEXTS.get(code, f'unknown panic code: {code:#x}')}"
    return "execution reverted"


def transact(world: World, call: Call) -> Outcome:
    """Run a transaction that was found valid: buys gas, raises the nonce, returns what is left.

    The priority fee is not collected and the base fee is burnt, as on Arbitrum.
    """
    sender = Address(call.sender)
    world.begin_transaction()
    nonce = world.get_nonce(sender)
    world.delta_balance(sender, -call.gas * call.gas_price_wei)
    world.set_nonce(sender, nonce + 1)
    outcome = _run(world, call, created=create_address(call.sender, nonce) if call.to is None else None)
    world.delta_balance(sender, (call.gas - outcome.gas_used) * call.gas_price_wei)
    return outcome


def simulate(world: World, call: Call) -> Outcome:
    """Run a message on a world that is thrown away; gas costs nothing, the nonce is not looked at."""
    world.begin_transaction()
    created = create_address(call.sender, world.get_nonce(Address(call.sender))) if call.to is None else None
    return _run(world, call, created=created)


def _run(world: World, call: Call, *, created: bytes | None) -> Outcome:
    intrinsic = intrinsic_gas(call)
    if call.gas < intrinsic:
        return _failure(f"intrinsic gas too low: gas {call.gas}, minimum needed {intrinsic}", call.gas)
    if world.get_balance(Address(call.sender)) < call.value_wei:
        return _failure("insufficient funds for transfer", call.gas)
    if created is not None and world.has_code_or_nonce(Address(created)):
        return _failure("contract address collision", call.gas)
    computation = _compute(world, call, created, gas=call.gas - intrinsic)
    used = call.gas - computation.get_gas_remaining()
    refunded = min(computation.get_gas_refund(), used // 5)
    for account in computation.get_accounts_for_deletion():
        world.delete_account(account)
    failed = computation.is_error
    reverted = failed and isinstance(computation.error, Revert)
    return Outcome(
        output=bytes(computation.output),
        gas_used=used - refunded,
        gas_refunded=refunded,
        logs=tuple(
            Log(address=address, topics=tuple(topic.to_bytes(32, "big") for topic in topics), data=bytes(data))
            for address, topics, data in computation.get_log_entries()
        ),
        error=_error_text(computation) if failed else None,
        reverted=reverted,
        created=None if failed else created,
    )


def _compute(world: World, call: Call, created: bytes | None, *, gas: int) -> ComputationAPI:
    world.mark_address_warm(Address(call.sender))
    world.mark_address_warm(world.coinbase)
    world.mark_address_warm(Address(created or call.to or b""))
    for address, slots in call.access_list:
        world.mark_address_warm(Address(address))
        for slot in slots:
            world.mark_storage_warm(Address(address), slot)
    context = CancunTransactionContext(gas_price=call.gas_price_wei, origin=Address(call.sender))
    if created is not None:
        message = Message(
            gas=gas,
            to=CREATE_CONTRACT_ADDRESS,
            sender=Address(call.sender),
            value=call.value_wei,
            data=b"",
            code=call.data,
            create_address=Address(created),
        )
        return world.computation_class.apply_create_message(world, message, context)
    assert call.to is not None
    message = Message(
        gas=gas,
        to=Address(call.to),
        sender=Address(call.sender),
        value=call.value_wei,
        data=call.data,
        code=world.get_code(Address(call.to)),
    )
    return world.computation_class.apply_message(world, message, context)


def _error_text(computation: ComputationAPI) -> str:
    if isinstance(computation.error, Revert):
        return revert_text(bytes(computation.output))
    name = type(computation.error).__name__
    return "out of gas" if name == "OutOfGas" else f"{name}: {computation.error}"


def _failure(text: str, gas: int) -> Outcome:
    return Outcome(output=b"", gas_used=gas, gas_refunded=0, logs=(), error=text, reverted=False, created=None)
