"""A client that shows what drivers hide: every tag, ParameterStatus and notification, as they come."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

ANSWERS_WITHIN_S = 60


@dataclass
class Answer:
    """What one message (or batch up to Sync) was answered with."""

    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    error: str = ""  # SQLSTATE
    message: str = ""

    def told(self) -> tuple[object, ...]:
        """What two servers have to agree on. A connection that had a temporary table before says of pg_temp.x that there is no x, a
        fresh one that there is no pg_temp."""
        return (self.rows, self.tags, "42P01" if self.error == "3F000" else self.error)


class Connection:
    """One connection with trust authentication; `status`, `parameters` and `notifications` follow what the server says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = ""
        self.parameters: dict[str, str] = {}
        self.notifications: list[tuple[str, str]] = []
        self.notified = asyncio.Event()
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._answer = Answer()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, *, user: str, database: str, **startup: str) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        words = {"user": user, "database": database, **startup}
        body = struct.pack("!I", 3 << 16) + b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
        writer.write(struct.pack("!I", len(body) + 4) + body)
        connection = cls(reader, writer)
        answer = await connection._next()
        if answer.error:
            raise ConnectionError(f"{answer.error}: {answer.message}")
        return connection

    async def query(self, sql: str) -> Answer:
        """The simple protocol."""
        self._writer.write(_frame(b"Q", sql.encode() + b"\0"))
        return await self._next()

    async def execute(self, sql: str, name: str = "") -> Answer:
        """Parse, Bind, Describe, Execute, Sync in one go; a named statement is closed again."""
        statement = name.encode() + b"\0"
        batch = _frame(b"P", statement + sql.encode() + b"\0\0\0") + _frame(b"B", b"\0" + statement + bytes(6)) + _frame(b"E", bytes(5))
        closing = _frame(b"C", b"S" + statement) if name else b""
        self._writer.write(batch + closing + _frame(b"S", b""))
        return await self._next()

    async def close(self) -> None:
        self._writer.write(_frame(b"X", b""))
        self._writer.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _next(self) -> Answer:
        return await asyncio.wait_for(self._answers.get(), ANSWERS_WITHIN_S)

    async def _read(self) -> None:
        try:
            while True:
                tag, length = struct.unpack("!cI", await self._reader.readexactly(5))
                self._message(tag, await self._reader.readexactly(length - 4))
        except (asyncio.IncompleteReadError, OSError):
            self._answer.error = self._answer.error or "closed"
            self._answers.put_nowait(self._answer)

    def _message(self, tag: bytes, body: bytes) -> None:
        match tag:
            case b"D":
                self._answer.rows.append(_row(body))
            case b"C":
                self._answer.tags.append(body[:-1].decode())
            case b"E":
                fields = {text[:1]: text[1:].decode() for text in body.split(b"\0") if text}
                self._answer.error, self._answer.message = fields[b"C"], fields[b"M"]
            case b"S":
                name, value = body[:-1].decode().split("\0")
                self.parameters[name] = value
            case b"A":
                channel, payload = body[4:-1].decode().split("\0")
                self.notifications.append((channel, payload))
                self.notified.set()
            case b"Z":
                self.status = body.decode()
                self._answers.put_nowait(self._answer)
                self._answer = Answer()


def _frame(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("!I", len(body) + 4) + body


def _row(body: bytes) -> tuple[str | None, ...]:
    values: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2])):
        length = int.from_bytes(body[at : at + 4], signed=True)
        at += 4
        values.append(body[at : at + length].decode() if length >= 0 else None)
        at += max(length, 0)
    return tuple(values)
