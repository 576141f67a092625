"""Objects in a PostgreSQL database: for several control planes on several machines.

The revision is a primary key, so of two writers that saw the same revision one gets it and the other a Conflict. LISTEN and NOTIFY only wake
waiters early; what they go by is the revision, which is looked at in any case.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg

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

SCHEMA_VERSION = 2
# A schema of its own, so that it may live in a database that has others.
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS midstream;
CREATE TABLE IF NOT EXISTS midstream.version (version integer PRIMARY KEY);
CREATE TABLE IF NOT EXISTS midstream.objects (
    kind text COLLATE "C", name text COLLATE "C", value text NOT NULL, file text NOT NULL, lines text NOT NULL, revision bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE TABLE IF NOT EXISTS midstream.changes (
    revision bigint PRIMARY KEY, at double precision NOT NULL, author text NOT NULL, reason text NOT NULL
);
CREATE TABLE IF NOT EXISTS midstream.history (
    revision bigint, kind text COLLATE "C", name text COLLATE "C", value text, file text NOT NULL DEFAULT '', lines text NOT NULL DEFAULT '{}',
    PRIMARY KEY (revision, kind, name)
);
CREATE TABLE IF NOT EXISTS midstream.audit (number bigint PRIMARY KEY, body text NOT NULL, seal text NOT NULL);
CREATE TABLE IF NOT EXISTS midstream.anchor (number bigint PRIMARY KEY, seal text NOT NULL);
"""
_HEAD = "SELECT number, seal FROM midstream.audit UNION ALL SELECT number, seal FROM midstream.anchor ORDER BY number DESC LIMIT 1"
_NEWEST = "SELECT coalesce(max(revision), 0) FROM midstream.changes"
_AT = """
SELECT kind, name, value, file, lines, revision FROM (
    SELECT DISTINCT ON (kind, name) * FROM midstream.history WHERE revision <= $1 ORDER BY kind, name, revision DESC
) AS last WHERE value IS NOT NULL ORDER BY kind, name
"""
# Rows that no revision from the horizon on is made of.
_COMPACT = (
    """
    DELETE FROM midstream.history AS earlier WHERE revision < $1 AND (value IS NULL OR EXISTS (
        SELECT FROM midstream.history AS later
        WHERE later.kind = earlier.kind AND later.name = earlier.name AND later.revision > earlier.revision AND later.revision <= $1
    ))
    """,
    "DELETE FROM midstream.changes WHERE revision < $1",
)
# The database says this to all control planes of a store.
CHANNEL = "midstream_changed"

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 10.0
# A hint may be lost; one look is one round trip.
LOOK_EVERY_S = 1.0
# Two control planes that make the schema at the same moment take turns; any number will do.
_MIGRATION_LOCK = 0x6D696473
# Who appends to the audit log does it alone: what was refused is no reason for a change to be made anew.
_AUDIT_LOCK = 0x6D696474


class PostgresStore:
    """`url` is postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE; without a password libpq's own sources are asked (PGPASSWORD, ~/.pgpass).

    It connects when it is first used, and again when the connection is lost.
    """

    def __init__(self, url: str, *, kept: int = KEPT_REVISIONS):
        self._url = url
        self._kept = kept
        parts = urlsplit(url)
        self._name = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"  # never the password
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()

    async def read(self) -> Contents:
        async with self._session() as session, session.transaction(isolation="repeatable_read", readonly=True):
            revision = await session.fetchval(_NEWEST)
            rows = await session.fetch("SELECT kind, name, value, file, lines, revision FROM midstream.objects ORDER BY kind, name")
        return _contents(revision, rows)

    async def write(self, puts: Iterable[Entry], deletes: Iterable[Key], *, expected: int, author: str, reason: str) -> int:
        revision, rows, gone = expected + 1, list(puts), list(deletes)
        change = Change(revision, time.time(), author, reason, tuple(entry.key for entry in rows), tuple(gone))
        async with self._session("the change may have been made; look before trying again") as session:
            try:
                async with session.transaction():
                    found = await session.fetchval(_NEWEST)
                    if found != expected:
                        raise Conflict(f"revision {found} came after {expected}")
                    await session.execute("INSERT INTO midstream.changes VALUES ($1, $2, $3, $4)", revision, change.at, author, reason)
                    await _put(session, revision, rows, gone)
                    await _append(session, lambda head: audit.changed(head, change, rows))
                    if revision % min(COMPACT_EVERY, self._kept) == 0:
                        await _compact(session, revision - self._kept)
                    await session.execute(f"NOTIFY {CHANNEL}")
            except asyncpg.UniqueViolationError as error:
                raise Conflict(f"revision {revision} came after {expected}") from error
        self._changed.set()
        return revision

    async def wait(self, after: int) -> int:
        while True:
            self._changed.clear()
            async with self._session() as session:
                revision = await session.fetchval(_NEWEST)
            if revision > after:
                return revision
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)

    async def history(self, limit: int) -> list[Change]:
        async with self._session() as session, session.transaction(isolation="repeatable_read", readonly=True):
            changes = await session.fetch("SELECT revision, at, author, reason FROM midstream.changes ORDER BY revision DESC LIMIT $1", limit)
            rows = await session.fetch(
                "SELECT revision, kind, name, value IS NULL AS removed FROM midstream.history WHERE revision = ANY($1) ORDER BY kind, name",
                [change["revision"] for change in changes],
            )
        return [_change(change, [row for row in rows if row["revision"] == change["revision"]]) for change in changes]

    async def at(self, revision: int) -> Contents:
        async with self._session() as session, session.transaction(isolation="repeatable_read", readonly=True):
            newest, oldest = await session.fetchrow("SELECT coalesce(max(revision), 0), coalesce(min(revision), 1) FROM midstream.changes")
            if not (oldest if oldest > 1 else 0) <= revision <= newest:
                raise no_such_revision(revision, oldest, newest)
            return _contents(revision, await session.fetch(_AT, revision))

    async def audit(self) -> Log:
        async with self._session() as session, session.transaction(isolation="repeatable_read", readonly=True):
            anchor = await session.fetchrow("SELECT number, seal FROM midstream.anchor ORDER BY number DESC LIMIT 1")
            records = await session.fetch("SELECT number, body, seal FROM midstream.audit ORDER BY number")
        return Log(Head(*anchor) if anchor else Head(), tuple(Record(*row) for row in records))

    async def refuse(self, refusal: RefusedChange) -> Head:
        async with self._session() as session, session.transaction():
            return await _append(session, lambda head: audit.refused(head, refusal))

    async def written(self, revision: int) -> Written:
        async with self._session() as session, session.transaction(isolation="repeatable_read", readonly=True):
            change = await session.fetchrow("SELECT revision, at, author, reason FROM midstream.changes WHERE revision = $1", revision)
            rows = await session.fetch("SELECT kind, name, value, file, lines, revision FROM midstream.history WHERE revision = $1", revision)
        if change is None:
            raise Gone(f"there is no revision {revision}")
        touched = [{"kind": row["kind"], "name": row["name"], "removed": row["value"] is None} for row in rows]
        return Written(_change(change, touched), tuple(_contents(revision, (row for row in rows if row["value"] is not None)).entries.values()))

    async def close(self) -> None:
        async with self._lock:
            await self._drop()

    @asynccontextmanager
    async def _session(self, lost: str = "nothing was changed") -> AsyncIterator[asyncpg.Connection]:
        """One user at a time. What the server or the network does not allow becomes StoreFailed; `lost` is what a lost connection means."""
        async with self._lock:
            try:
                yield await self._connected()
            except (asyncpg.UniqueViolationError, Conflict):
                raise
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
                # What the server says it has not done; what it did not say anything to, it may have.
                refused = isinstance(error, asyncpg.PostgresError) or self._connection is None
                if not refused:
                    await self._drop()
                reason = str(error) or type(error).__name__
                raise StoreFailed(f"the store {self._name} failed: {reason}; {'nothing was changed' if refused else lost}") from error

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=STATEMENT_TIMEOUT_S)
            try:
                await self._migrate(connection)
                await connection.add_listener(CHANNEL, lambda *_: self._changed.set())
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def _migrate(self, connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            await connection.execute(_SCHEMA)
            version = await connection.fetchval("SELECT max(version) FROM midstream.version")
            if version is None:
                await connection.execute("INSERT INTO midstream.version VALUES ($1)", SCHEMA_VERSION)
            elif version < SCHEMA_VERSION:
                await connection.execute("UPDATE midstream.version SET version = $1", SCHEMA_VERSION)
            elif version > SCHEMA_VERSION:
                raise StoreFailed(f"the store {self._name} was written by a newer Midstream (schema {version}); use that one or another database")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _put(session: asyncpg.Connection, revision: int, puts: list[Entry], deletes: list[Key]) -> None:
    rows = [(entry.kind, entry.name, json.dumps(entry.value, ensure_ascii=False), entry.file, json.dumps(entry.lines), revision) for entry in puts]
    await session.executemany(
        "INSERT INTO midstream.objects VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, name) "
        "DO UPDATE SET value = excluded.value, file = excluded.file, lines = excluded.lines, revision = excluded.revision",
        rows,
    )
    await session.executemany(
        "INSERT INTO midstream.history (kind, name, value, file, lines, revision) VALUES ($1, $2, $3, $4, $5, $6)",
        rows,
    )
    for key in deletes:
        await session.execute("DELETE FROM midstream.objects WHERE kind = $1 AND name = $2", *key)
        await session.execute("INSERT INTO midstream.history (revision, kind, name) VALUES ($1, $2, $3)", revision, *key)


async def _append(session: asyncpg.Connection, make: Callable[[Head], Iterable[Record]]) -> Head:
    await session.execute("SELECT pg_advisory_xact_lock($1)", _AUDIT_LOCK)
    found = await session.fetchrow(_HEAD)
    head = Head(*found) if found else Head()
    for record in make(head):
        await session.execute("INSERT INTO midstream.audit VALUES ($1, $2, $3)", record.number, record.body, record.seal)
        head = record.head
    if head.number % COMPACT_EVERY == 0:
        await _forget(session, head.number - audit.KEPT_RECORDS)
    return head


async def _forget(session: asyncpg.Connection, number: int) -> None:
    """The records up to that one; its seal stays."""
    await session.execute("INSERT INTO midstream.anchor SELECT number, seal FROM midstream.audit WHERE number = $1", number)
    await session.execute("DELETE FROM midstream.audit WHERE number <= $1", number)
    await session.execute("DELETE FROM midstream.anchor WHERE number < (SELECT max(number) FROM midstream.anchor)")


async def _compact(session: asyncpg.Connection, horizon: int) -> None:
    """Forget the revisions before it."""
    for statement in _COMPACT:
        await session.execute(statement, horizon)


def _contents(revision: int, rows: Iterable[asyncpg.Record]) -> Contents:
    entries = (Entry(kind, name, json.loads(value), file, json.loads(lines), last) for kind, name, value, file, lines, last in rows)
    return Contents(revision, {entry.key: entry for entry in entries})


def _change(change: asyncpg.Record, rows: Iterable[Mapping[str, Any]]) -> Change:
    rows = list(rows)
    put = tuple((row["kind"], row["name"]) for row in rows if not row["removed"])
    removed = tuple((row["kind"], row["name"]) for row in rows if row["removed"])
    return Change(change["revision"], change["at"], change["author"], change["reason"], put, removed)
