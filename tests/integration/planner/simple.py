"""A client of the simple query protocol, which shows the bytes of every value. Source: PostgreSQL manual, "Frontend/Backend Protocol"."""

import asyncio
import struct

Row = tuple[bytes | None, ...]


class ServerError(Exception):
    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.sqlstate = fields.get("C", "")


class Simple:
    """A connection to a server that trusts loopback."""

    @classmethod
    async def connect(cls, port: int, database: str, user: str) -> "Simple":
        self = cls()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        words = b"\0".join(word.encode() for word in ("user", user, "database", database)) + b"\0\0"
        self._writer.write(struct.pack(">ii", 8 + len(words), 196608) + words)
        await self._until_ready()
        return self

    async def query(self, sql: str) -> tuple[list[Row], list[int], str]:
        """Rows, the type OIDs of their columns, the command tag. Raises ServerError."""
        data = sql.encode() + b"\0"
        self._writer.write(b"Q" + struct.pack(">i", 4 + len(data)) + data)
        return await self._until_ready()

    async def close(self) -> None:
        self._writer.write(b"X" + struct.pack(">i", 4))
        self._writer.close()
        await self._writer.wait_closed()

    async def _until_ready(self) -> tuple[list[Row], list[int], str]:
        rows, types, tag, error = [], [], "", None
        while True:
            kind, length = struct.unpack(">ci", await self._reader.readexactly(5))
            body = await self._reader.readexactly(length - 4)
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"T":
                types = _types(body)
            elif kind == b"C":
                tag = body[:-1].decode()
            elif kind == b"E":
                error = ServerError({part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part})
            elif kind == b"R" and body[:4] != b"\0\0\0\0":
                raise AssertionError("the server asks for a password")
            elif kind == b"Z":
                if error:
                    raise error
                return rows, types, tag


def _row(body: bytes) -> Row:
    fields, at = [], 2
    for _ in range(struct.unpack_from(">h", body)[0]):
        (length,) = struct.unpack_from(">i", body, at)
        at += 4
        fields.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return tuple(fields)


def _types(body: bytes) -> list[int]:
    types, at = [], 2
    for _ in range(struct.unpack_from(">h", body)[0]):
        at = body.index(b"\0", at) + 1
        types.append(struct.unpack_from(">i", body, at + 6)[0])
        at += 18
    return types
