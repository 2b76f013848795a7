"""Blocks, transactions, receipts and logs as JSON-RPC shows them."""

from sandbox.chain.blocks import (
    BLOCK_GAS_LIMIT,
    EMPTY_UNCLES_HASH,
    NO_ADDRESS,
    Header,
    MinedTransaction,
    StoredLog,
    bloom,
)
from sandbox.chain.machine import AccessList
from sandbox.chain.transactions import SignedTransaction

type Json = bool | int | str | list[Json] | dict[str, Json] | None


def hex_data(value: bytes) -> str:
    return "0x" + value.hex()


def hex_address(value: bytes | None) -> str | None:
    return None if value is None else hex_data(value)


def block(header: Header, mined: list[MinedTransaction], *, full: bool) -> dict[str, Json]:
    """`l1BlockNumber` equals the number: contracts see the same figure as block.number."""
    return {
        "number": hex(header.number),
        "l1BlockNumber": hex(header.number),
        "hash": hex_data(header.hash),
        "parentHash": hex_data(header.parent_hash),
        "sha3Uncles": hex_data(EMPTY_UNCLES_HASH),
        "miner": hex_address(NO_ADDRESS),
        "stateRoot": hex_data(header.state_root),
        "transactionsRoot": hex_data(header.transactions_root),
        "receiptsRoot": hex_data(header.receipts_root),
        "logsBloom": hex_data(header.logs_bloom),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "gasLimit": hex(BLOCK_GAS_LIMIT),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp_seconds),
        "extraData": hex_data(header.extra_data),
        "mixHash": hex_data(bytes(32)),
        "nonce": hex_data(bytes(8)),
        "baseFeePerGas": hex(header.base_fee_wei),
        "size": hex(640 + sum(len(item.transaction.raw) for item in mined)),
        "uncles": [],
        "transactions": [
            transaction(item.transaction, header, item) if full else hex_data(item.transaction.hash) for item in mined
        ],
    }


def transaction(signed: SignedTransaction, header: Header | None, mined: MinedTransaction | None) -> dict[str, Json]:
    """Without a header it is still waiting."""
    view: dict[str, Json] = {
        "hash": hex_data(signed.hash),
        "type": hex(signed.type),
        "nonce": hex(signed.nonce),
        "from": hex_address(signed.sender),
        "to": hex_address(signed.to),
        "value": hex(signed.value_wei),
        "gas": hex(signed.gas),
        "gasPrice": hex(mined.gas_price_wei if mined else signed.max_fee_wei),
        "input": hex_data(signed.data),
        "v": hex(signed.v),
        "r": hex(signed.r),
        "s": hex(signed.s),
        "blockHash": hex_data(header.hash) if header else None,
        "blockNumber": hex(header.number) if header else None,
        "transactionIndex": hex(mined.index) if mined else None,
    }
    if signed.chain_id is not None:
        view["chainId"] = hex(signed.chain_id)
    if signed.type > 0:
        view["yParity"] = hex(signed.v)
        view["accessList"] = _access_list(signed.access_list)
    if signed.type == 2:
        view["maxFeePerGas"] = hex(signed.max_fee_wei)
        view["maxPriorityFeePerGas"] = hex(signed.max_priority_fee_wei)
    return view


def receipt(header: Header, mined: MinedTransaction) -> dict[str, Json]:
    signed = mined.transaction
    return {
        "transactionHash": hex_data(signed.hash),
        "transactionIndex": hex(mined.index),
        "blockHash": hex_data(header.hash),
        "blockNumber": hex(header.number),
        "l1BlockNumber": hex(header.number),
        "from": hex_address(signed.sender),
        "to": hex_address(signed.to),
        "contractAddress": hex_address(mined.created),
        "status": hex(mined.succeeded),
        "type": hex(signed.type),
        "gasUsed": hex(mined.gas_used),
        "gasUsedForL1": "0x0",
        "cumulativeGasUsed": hex(mined.cumulative_gas_used),
        "effectiveGasPrice": hex(mined.gas_price_wei),
        "logsBloom": hex_data(bloom(mined.logs)),
        "logs": [log(item) for item in stored_logs(header, mined)],
    }


def stored_logs(header: Header, mined: MinedTransaction) -> list[StoredLog]:
    return [
        StoredLog(
            log=item,
            block_number=header.number,
            block_hash=header.hash,
            block_timestamp_seconds=header.timestamp_seconds,
            transaction_hash=mined.transaction.hash,
            transaction_index=mined.index,
            index=mined.first_log_index + offset,
        )
        for offset, item in enumerate(mined.logs)
    ]


def log(stored: StoredLog) -> dict[str, Json]:
    return {
        "address": hex_address(stored.log.address),
        "topics": [hex_data(topic) for topic in stored.log.topics],
        "data": hex_data(stored.log.data),
        "blockNumber": hex(stored.block_number),
        "blockHash": hex_data(stored.block_hash),
        "blockTimestamp": hex(stored.block_timestamp_seconds),
        "transactionHash": hex_data(stored.transaction_hash),
        "transactionIndex": hex(stored.transaction_index),
        "logIndex": hex(stored.index),
        "removed": False,
    }


def _access_list(access_list: AccessList) -> list[Json]:
    return [
        {"address": hex_address(address), "storageKeys": [hex_data(slot.to_bytes(32, "big")) for slot in slots]}
        for address, slots in access_list
    ]
