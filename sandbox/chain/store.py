"""The chain on disk: one SQLite file with blocks, transactions, indexed logs and every past value of the state."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_typing import Hash32

from sandbox.chain.blocks import EMPTY_BLOOM, Header, MinedTransaction, StoredLog
from sandbox.chain.machine import Log
from sandbox.chain.transactions import SignedTransaction, decode_transaction
from sandbox.chain.world import CODE, Value

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent_hash BLOB NOT NULL, state_root BLOB NOT NULL,
    transactions_root BLOB NOT NULL, receipts_root BLOB NOT NULL, logs_bloom BLOB, timestamp_seconds INTEGER NOT NULL,
    gas_used INTEGER NOT NULL, base_fee_wei INTEGER NOT NULL, extra_data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (
    hash BLOB PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL, raw BLOB NOT NULL,
    succeeded INTEGER NOT NULL, gas_used INTEGER NOT NULL, cumulative_gas_used INTEGER NOT NULL,
    gas_price_wei INTEGER NOT NULL, created BLOB, first_log_index INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS transactions_by_block ON transactions (block, position);
CREATE TABLE IF NOT EXISTS logs (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL, transaction_hash BLOB NOT NULL, position INTEGER NOT NULL,
    address BLOB NOT NULL, topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL,
    PRIMARY KEY (block, log_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_topic1 ON logs (topic1, block);
CREATE INDEX IF NOT EXISTS logs_by_address ON logs (address, topic0, block);
CREATE TABLE IF NOT EXISTS state (
    key BLOB NOT NULL, block INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, block)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_by_block ON state (block);
CREATE TABLE IF NOT EXISTS pool (arrival INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL);
"""
TOPIC_COLUMNS = ("topic0", "topic1", "topic2", "topic3")


@dataclass(frozen=True, kw_only=True)
class LogFilter:
    """Empty `addresses`, or an empty place in `topics`, matches everything; several entries mean "one of"."""

    first_block: int
    last_block: int
    addresses: Sequence[bytes] = ()
    topics: Sequence[Sequence[bytes]] = ()


class Store:
    """`latest` holds the newest value of every state key. Every public write is one durable commit."""

    def __init__(self, path: Path) -> None:
        # WAL with NORMAL: a killed process loses nothing that was committed; only a power cut could.
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        # Bare columns beside max() come from the row that holds the maximum.
        rows = self._db.execute("SELECT key, value, max(block) FROM state GROUP BY key")
        self.latest: dict[bytes, Value] = {key: _from_blob(key, value) for key, value, _ in rows}

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Groups writes into one commit; inside another group it does nothing of its own."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Settings and the pool

    def meta(self, name: str) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_meta(self, name: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    def pooled(self) -> list[SignedTransaction]:
        rows = self._db.execute("SELECT raw FROM pool ORDER BY arrival")
        return [decode_transaction(raw) for (raw,) in rows]

    def add_to_pool(self, transaction: SignedTransaction) -> None:
        self._db.execute("INSERT INTO pool (hash, raw) VALUES (?, ?)", (transaction.hash, transaction.raw))

    def remove_from_pool(self, hashes: Iterable[bytes]) -> None:
        self._db.executemany("DELETE FROM pool WHERE hash = ?", [(item,) for item in hashes])

    # Blocks

    def append(self, header: Header, mined: Sequence[MinedTransaction], changes: dict[bytes, Value]) -> None:
        with self.commit():
            self._db.execute("INSERT INTO blocks VALUES (?,?,?,?,?,?,?,?,?,?,?)", _header_row(header))
            for item in mined:
                self._insert_transaction(header.number, item)
            for key, value in changes.items():
                self.put_state(key, header.number, value)

    def put_state(self, key: bytes, block: int, value: Value) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (key, block, _to_blob(value)))
        self.latest[key] = value

    def truncate(self, last_block: int) -> None:
        """Forget every block above `last_block`, as if it had never been."""
        with self.commit():
            rows = self._db.execute("SELECT DISTINCT key FROM state WHERE block > ?", (last_block,)).fetchall()
            for table, column in (
                ("blocks", "number"),
                ("transactions", "block"),
                ("logs", "block"),
                ("state", "block"),
            ):
                self._db.execute(f"DELETE FROM {table} WHERE {column} > ?", (last_block,))
        for (key,) in rows:
            value = self.state_at(key, last_block)
            if value is None:
                self.latest.pop(key, None)
            else:
                self.latest[key] = value

    def state_at(self, key: bytes, block: int) -> Value | None:
        row = self._db.execute(
            "SELECT value FROM state WHERE key = ? AND block <= ? ORDER BY block DESC LIMIT 1", (key, block)
        ).fetchone()
        return None if row is None else _from_blob(key, row[0])

    def head(self) -> Header | None:
        return self._header("ORDER BY number DESC LIMIT 1")

    def header(self, number: int) -> Header | None:
        return self._header("WHERE number = ?", number)

    def header_by_hash(self, block_hash: bytes) -> Header | None:
        return self._header("WHERE hash = ?", block_hash)

    def hashes_below(self, number: int) -> Iterator[Hash32]:
        """Block hashes from number - 1 downwards, at most 256; asked of the file only when somebody looks."""
        rows = self._db.execute("SELECT hash FROM blocks WHERE number < ? ORDER BY number DESC LIMIT 256", (number,))
        yield from (Hash32(block_hash) for (block_hash,) in rows.fetchall())

    def _header(self, clause: str, *arguments: int | bytes) -> Header | None:
        row = self._db.execute(f"SELECT * FROM blocks {clause}", arguments).fetchone()
        if row is None:
            return None
        return Header(
            number=row[0],
            parent_hash=row[2],
            state_root=row[3],
            transactions_root=row[4],
            receipts_root=row[5],
            logs_bloom=row[6] or EMPTY_BLOOM,
            timestamp_seconds=row[7],
            gas_used=row[8],
            base_fee_wei=row[9],
            extra_data=row[10],
        )

    # Transactions and logs

    def _insert_transaction(self, block: int, mined: MinedTransaction) -> None:
        transaction = mined.transaction
        self._db.execute(
            "INSERT INTO transactions VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                transaction.hash, block, mined.index, transaction.raw, mined.succeeded, mined.gas_used,
                mined.cumulative_gas_used, mined.gas_price_wei, mined.created, mined.first_log_index,
            ),
        )  # fmt: skip
        for offset, log in enumerate(mined.logs):
            topics = [*log.topics, *[None] * (4 - len(log.topics))]
            place = (block, mined.first_log_index + offset, transaction.hash, mined.index)
            self._db.execute("INSERT INTO logs VALUES (?,?,?,?,?,?,?,?,?,?)", (*place, log.address, *topics, log.data))

    def transaction(self, transaction_hash: bytes) -> tuple[int, MinedTransaction] | None:
        """The block number and the transaction, or None when it is not mined."""
        row = self._db.execute("SELECT * FROM transactions WHERE hash = ?", (transaction_hash,)).fetchone()
        return None if row is None else (row[1], self._mined(row))

    def transactions_of(self, block: int) -> list[MinedTransaction]:
        rows = self._db.execute("SELECT * FROM transactions WHERE block = ? ORDER BY position", (block,))
        return [self._mined(row) for row in rows.fetchall()]

    def _mined(self, row: tuple[Any, ...]) -> MinedTransaction:
        logs = self._db.execute(
            "SELECT address, topic0, topic1, topic2, topic3, data FROM logs WHERE block = ? AND position = ?"
            " ORDER BY log_index",
            (row[1], row[2]),
        )
        return MinedTransaction(
            transaction=decode_transaction(row[3]),
            index=row[2],
            succeeded=bool(row[4]),
            gas_used=row[5],
            cumulative_gas_used=row[6],
            gas_price_wei=row[7],
            created=row[8],
            first_log_index=row[9],
            logs=tuple(_log(log) for log in logs),
        )

    def logs(self, wanted: LogFilter, *, limit: int) -> list[StoredLog]:
        """In chain order, at most `limit`."""
        conditions = ["logs.block BETWEEN ? AND ?"]
        arguments: list[int | bytes] = [wanted.first_block, wanted.last_block]
        columns = zip(("address", *TOPIC_COLUMNS), (wanted.addresses, *wanted.topics), strict=False)
        for column, choices in columns:
            if choices:
                conditions.append(f"{column} IN ({','.join('?' * len(choices))})")
                arguments += choices
        rows = self._db.execute(
            "SELECT logs.address, topic0, topic1, topic2, topic3, data, block, hash, timestamp_seconds,"
            " transaction_hash, position, log_index FROM logs JOIN blocks ON blocks.number = logs.block"
            f" WHERE {' AND '.join(conditions)} ORDER BY block, log_index LIMIT ?",
            (*arguments, limit),
        )
        return [
            StoredLog(
                log=_log(row),
                block_number=row[6],
                block_hash=row[7],
                block_timestamp_seconds=row[8],
                transaction_hash=row[9],
                transaction_index=row[10],
                index=row[11],
            )
            for row in rows
        ]


def _log(row: Sequence[Any]) -> Log:
    return Log(address=row[0], topics=tuple(topic for topic in row[1:5] if topic is not None), data=row[5])


def _header_row(header: Header) -> tuple[Any, ...]:
    bloom = None if header.logs_bloom == EMPTY_BLOOM else header.logs_bloom
    return (
        header.number, header.hash, header.parent_hash, header.state_root, header.transactions_root,
        header.receipts_root, bloom, header.timestamp_seconds, header.gas_used, header.base_fee_wei,
        header.extra_data,
    )  # fmt: skip


def _to_blob(value: Value) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes((value.bit_length() + 7) // 8, "big")


def _from_blob(key: bytes, blob: bytes) -> Value:
    return blob if key[20:21] == CODE else int.from_bytes(blob, "big")
