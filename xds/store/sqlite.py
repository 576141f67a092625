"""Objects in one SQLite file: the default, for one control plane or several on one machine.

In WAL mode readers never wait for a writer; a write is one transaction, on disk before it is acknowledged.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from xds.store import audit
from xds.store.base import (
    COMPACT_EVERY,
    KEPT_REVISIONS,
    Change,
    Conflict,
    Contents,
    Entry,
    Gone,
    Head,
    Key,
    Log,
    Record,
    RefusedChange,
    StoreFailed,
    Written,
    no_such_revision,
)

T = TypeVar("T")

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, file TEXT NOT NULL, lines TEXT NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (revision INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    revision INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT, file TEXT NOT NULL DEFAULT '', lines TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (revision, kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY, body TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS anchor (number INTEGER PRIMARY KEY, seal TEXT NOT NULL);
"""

# The first schema's history had no places in files.
_FROM_1 = """
ALTER TABLE history ADD COLUMN file TEXT NOT NULL DEFAULT '';
ALTER TABLE history ADD COLUMN lines TEXT NOT NULL DEFAULT '{}';
"""
# Of each object the last row up to a revision.
_AT = """
SELECT kind, name, value, file, lines, revision FROM history JOIN (
    SELECT kind, name, max(revision) AS revision FROM history WHERE revision <= ? GROUP BY kind, name
) USING (kind, name, revision) WHERE value IS NOT NULL ORDER BY kind, name
"""
# Rows that no revision from `horizon` on is made of: first those with a later one, then what is left of removed objects.
_COMPACT = (
    """
    DELETE FROM history WHERE revision < :horizon AND EXISTS (
        SELECT 1 FROM history AS later
        WHERE later.kind = history.kind AND later.name = history.name AND later.revision > history.revision AND later.revision <= :horizon
    )
    """,
    "DELETE FROM history WHERE revision < :horizon AND value IS NULL",
    "DELETE FROM changes WHERE revision < :horizon",
)

# How long another process's write may hold the file before ours fails.
BUSY_TIMEOUT_S = 5.0
# Writes of this process wake waiters at once; those of others are seen by looking. One look is some 20 us.
LOOK_EVERY_S = 0.5


class SqliteStore:
    """`path` is created with its folder if need be. Raises StoreFailed."""

    def __init__(self, path: Path, *, kept: int = KEPT_REVISIONS):
        self._path = path
        self._kept = kept
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(f"cannot open the store {path}: {error}") from error

    async def read(self) -> Contents:
        return await self._run(self._read)

    async def write(self, puts: Iterable[Entry], deletes: Iterable[Key], *, expected: int, author: str, reason: str) -> int:
        rows, gone = list(puts), list(deletes)
        revision = await self._run(lambda: self._write(rows, gone, expected, author, reason))
        self._changed.set()
        return revision

    async def wait(self, after: int) -> int:
        while True:
            self._changed.clear()
            revision = await self._run(self._revision)
            if revision > after:
                return revision
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)

    async def history(self, limit: int) -> list[Change]:
        return await self._run(lambda: self._history(limit))

    async def at(self, revision: int) -> Contents:
        return await self._run(lambda: self._at(revision))

    async def audit(self) -> Log:
        return await self._run(self._audit)

    async def refuse(self, refusal: RefusedChange) -> Head:
        return await self._run(lambda: self._refuse(refusal))

    async def written(self, revision: int) -> Written:
        return await self._run(lambda: self._written(revision))

    async def close(self) -> None:
        async with self._lock:
            self._db.close()

    async def _run(self, work: Callable[[], T]) -> T:
        """One thing at a time, off the event loop: an fsync may take long."""
        async with self._lock:
            try:
                return await asyncio.to_thread(work)
            except sqlite3.Error as error:
                raise StoreFailed(f"the store {self._path} failed: {error}; nothing was changed") from error

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreFailed(f"the store {self._path} was written by a newer Midstream (schema {version}); use that one or another file")
        if version == 1:
            self._db.executescript(_FROM_1)
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _revision(self) -> int:
        return self._db.execute("SELECT coalesce(max(revision), 0) FROM changes").fetchone()[0]

    def _read(self) -> Contents:
        self._db.execute("BEGIN")
        try:
            revision = self._revision()
            rows = self._db.execute("SELECT kind, name, value, file, lines, revision FROM objects ORDER BY kind, name").fetchall()
        finally:
            self._db.execute("ROLLBACK")
        return _contents(revision, rows)

    def _at(self, revision: int) -> Contents:
        self._db.execute("BEGIN")
        try:
            newest, oldest = self._db.execute("SELECT coalesce(max(revision), 0), coalesce(min(revision), 1) FROM changes").fetchone()
            if not (oldest if oldest > 1 else 0) <= revision <= newest:
                raise no_such_revision(revision, oldest, newest)
            return _contents(revision, self._db.execute(_AT, (revision,)).fetchall())
        finally:
            self._db.execute("ROLLBACK")

    def _write(self, puts: list[Entry], gone: list[Key], expected: int, author: str, reason: str) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = self._revision()
            if found != expected:
                raise Conflict(f"revision {found} came after {expected}")
            revision, at = found + 1, time.time()
            self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", (revision, at, author, reason))
            change = Change(revision, at, author, reason, tuple(entry.key for entry in puts), tuple(gone))
            self._append(audit.changed(self._head(), change, puts))
            for entry in puts:
                self._put(entry, revision)
            for kind, name in gone:
                self._db.execute("DELETE FROM objects WHERE kind = ? AND name = ?", (kind, name))
                self._db.execute("INSERT INTO history (revision, kind, name) VALUES (?, ?, ?)", (revision, kind, name))
            if revision % min(COMPACT_EVERY, self._kept) == 0:
                self._compact(revision - self._kept)
            self._db.execute("COMMIT")
            return revision
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _put(self, entry: Entry, revision: int) -> None:
        value = json.dumps(entry.value, ensure_ascii=False)
        row = (entry.kind, entry.name, value, entry.file, json.dumps(entry.lines), revision)
        self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", row)
        self._db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", (revision, *row[:-1]))

    def _compact(self, horizon: int) -> None:
        """Forget the revisions before it."""
        for statement in _COMPACT:
            self._db.execute(statement, {"horizon": horizon})

    def _head(self) -> Head:
        """The end of the chain, inside of a transaction."""
        found = self._db.execute("SELECT number, seal FROM audit UNION ALL SELECT number, seal FROM anchor ORDER BY number DESC LIMIT 1").fetchone()
        return Head(*found) if found else Head()

    def _append(self, records: Iterable[Record]) -> Head:
        for record in records:
            self._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (record.number, record.body, record.seal))
        if record.number % COMPACT_EVERY == 0:
            self._forget(record.number - audit.KEPT_RECORDS)
        return record.head

    def _forget(self, number: int) -> None:
        """The records up to that one; its seal stays."""
        self._db.execute("INSERT INTO anchor SELECT number, seal FROM audit WHERE number = ?", (number,))
        self._db.execute("DELETE FROM audit WHERE number <= ?", (number,))
        self._db.execute("DELETE FROM anchor WHERE number < (SELECT max(number) FROM anchor)")

    def _audit(self) -> Log:
        self._db.execute("BEGIN")
        try:
            anchor = self._db.execute("SELECT number, seal FROM anchor ORDER BY number DESC LIMIT 1").fetchone()
            records = self._db.execute("SELECT number, body, seal FROM audit ORDER BY number").fetchall()
        finally:
            self._db.execute("ROLLBACK")
        return Log(Head(*anchor) if anchor else Head(), tuple(Record(*row) for row in records))

    def _refuse(self, refusal: RefusedChange) -> Head:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            head = self._append(audit.refused(self._head(), refusal))
            self._db.execute("COMMIT")
            return head
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _written(self, revision: int) -> Written:
        found = self._db.execute("SELECT revision, at, author, reason FROM changes WHERE revision = ?", (revision,)).fetchone()
        if found is None:
            raise Gone(f"there is no revision {revision}")
        columns = "SELECT kind, name, value, file, lines, revision FROM history WHERE revision = ? AND value IS NOT NULL"
        return Written(self._change(*found), tuple(_contents(revision, self._db.execute(columns, (revision,))).entries.values()))

    def _history(self, limit: int) -> list[Change]:
        changes = self._db.execute("SELECT revision, at, author, reason FROM changes ORDER BY revision DESC LIMIT ?", (limit,)).fetchall()
        return [self._change(*row) for row in changes]

    def _change(self, revision: int, at: float, author: str, reason: str) -> Change:
        rows = self._db.execute("SELECT kind, name, value IS NULL FROM history WHERE revision = ? ORDER BY kind, name", (revision,)).fetchall()
        put = tuple((kind, name) for kind, name, removed in rows if not removed)
        gone = tuple((kind, name) for kind, name, removed in rows if removed)
        return Change(revision, at, author, reason, put, gone)


def _contents(revision: int, rows: Iterable[tuple]) -> Contents:
    entries = (Entry(kind, name, json.loads(value), file, json.loads(lines), last) for kind, name, value, file, lines, last in rows)
    return Contents(revision, {entry.key: entry for entry in entries})
