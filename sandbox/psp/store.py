"""The provider's memory: one SQLite file, every change written before its answer leaves."""

import contextlib
import fnmatch
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.psp.errors import JSON

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, object TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (object, seq);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL,
    status INTEGER NOT NULL, body TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, endpoint INTEGER NOT NULL, due REAL NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, last_status INTEGER, last_error TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created);
CREATE TABLE IF NOT EXISTS agenda (
    id INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, pattern TEXT NOT NULL, action TEXT NOT NULL,
    value REAL NOT NULL, remaining INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Everything lasting. All calls come from one thread, so a transaction is never interleaved."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(SCHEMA)

    def close(self) -> None:
        self.db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def insert(self, body: JSON) -> JSON:
        self.db.execute(
            "INSERT INTO objects (id, object, created, body) VALUES (?, ?, ?, ?)",
            (body["id"], body["object"], body["created"], json.dumps(body)),
        )
        return body

    def save(self, body: JSON) -> JSON:
        self.db.execute("UPDATE objects SET body = ? WHERE id = ?", (json.dumps(body), body["id"]))
        return body

    def find(self, id: str, kind: str | None = None) -> JSON | None:
        row = self.db.execute("SELECT object, body FROM objects WHERE id = ?", (id,)).fetchone()
        if row is None or kind not in (None, row["object"]):
            return None
        body: JSON = json.loads(row["body"])
        return body

    def seq(self, id: str, kind: str) -> int | None:
        row = self.db.execute("SELECT seq FROM objects WHERE id = ? AND object = ?", (id, kind)).fetchone()
        return None if row is None else int(row["seq"])

    def select(self, kind: str, where: str, values: list[Any], *, newest_first: bool, limit: int) -> list[JSON]:
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT body FROM objects WHERE object = ?{where} ORDER BY seq {order} LIMIT ?"
        return [json.loads(row["body"]) for row in self.db.execute(sql, [kind, *values, limit])]

    def setting(self, name: str, default: Any) -> Any:
        row = self.db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row["value"])

    def set(self, name: str, value: Any) -> None:
        self.db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def take_rule(self, kind: str, subject: str, actions: tuple[str, ...]) -> sqlite3.Row | None:
        """The oldest rule left for this subject, one use of it spent."""
        for row in self.db.execute("SELECT * FROM rules WHERE kind = ? AND remaining > 0 ORDER BY id", (kind,)):
            if row["action"] in actions and fnmatch.fnmatchcase(subject, row["pattern"]):
                self.db.execute("UPDATE rules SET remaining = remaining - 1 WHERE id = ?", (row["id"],))
                found: sqlite3.Row = row
                return found
        return None
