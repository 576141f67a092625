"""A client that sends the messages that a test names and remembers whatever it hears: no driver in between tidies up."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

DEADLINE_S = 20


def message(tag: str, body: bytes = b"") -> bytes:
    return tag.encode() + struct.pack("!I", len(body) + 4) + body


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def query(sql: str) -> bytes:
    return message("Q", text(sql))


def parse(sql: str, name: str = "", *oids: int) -> bytes:
    return message("P", text(name) + text(sql) + struct.pack("!H", len(oids)) + b"".join(struct.pack("!I", oid) for oid in oids))


def bind(*values: bytes | None, name: str = "", portal: str = "", formats: tuple[int, ...] = (), results: tuple[int, ...] = ()) -> bytes:
    body = text(portal) + text(name) + _shorts(formats) + struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message("B", body + _shorts(results))


def describe(kind: str, name: str = "") -> bytes:
    return message("D", kind.encode() + text(name))


def execute(portal: str = "", rows: int = 0) -> bytes:
    return message("E", text(portal) + struct.pack("!I", rows))


def close(kind: str, name: str = "") -> bytes:
    return message("C", kind.encode() + text(name))


def call(oid: int, *arguments: bytes) -> bytes:
    """FunctionCall, text arguments and result."""
    body = struct.pack("!I", oid) + _shorts(()) + struct.pack("!H", len(arguments))
    return message("F", body + b"".join(struct.pack("!i", len(one)) + one for one in arguments) + struct.pack("!H", 0))


def copy_data(data: bytes) -> bytes:
    return message("d", data)


SYNC, FLUSH, TERMINATE, COPY_DONE = message("S"), message("H"), message("X"), message("c")


def _shorts(numbers: tuple[int, ...]) -> bytes:
    return struct.pack("!H", len(numbers)) + b"".join(struct.pack("!H", number) for number in numbers)


@dataclass(frozen=True)
class Step:
    """Bytes to send, and what is heard: up to the `count`-th message of type `until`, or the end of the connection."""

    send: bytes
    until: str = "Z"
    count: int = 1


class Frontend:
    """One connection, logged in without a password."""

    def __init__(self, port: int, *, user: str, database: str, **settings: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.unread = b""
        words = {"user": user, "database": database, **settings}
        body = struct.pack("!I", 3 << 16) + b"".join(text(name) + text(value) for name, value in words.items()) + b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.greeting = self.hear("Z")

    def play(self, steps: list[Step]) -> list[tuple[str, bytes]]:
        """All that is heard in answer to the steps; `("EOF", b"")` is the end of the connection."""
        heard = []
        for step in steps:
            self.socket.sendall(step.send)
            heard += self.hear(step.until, step.count)
        return heard

    def hear(self, until: str, count: int = 1) -> list[tuple[str, bytes]]:
        heard: list[tuple[str, bytes]] = []
        while count > 0:
            one = self._next()
            heard.append(one)
            if one[0] == "EOF":
                break
            count -= one[0] == until
        return heard

    def close(self) -> None:
        self.socket.close()

    def _next(self) -> tuple[str, bytes]:
        header = self._read(5)
        if header is None:
            return "EOF", b""
        body = self._read(struct.unpack("!I", header[1:])[0] - 4)
        return ("EOF", b"") if body is None else (chr(header[0]), body)

    def _read(self, size: int) -> bytes | None:
        while len(self.unread) < size:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.unread += more
        found, self.unread = self.unread[:size], self.unread[size:]
        return found
