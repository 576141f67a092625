"""Kafka's SASL by hand: what no client library would send."""

import socket
import struct
from types import TracebackType
from typing import Self

API_VERSIONS, METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 3, 17, 36


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def request(key: int, version: int, body: bytes, correlation: int = 1) -> bytes:
    frame = struct.pack(">hhi", key, version, correlation) + string("test") + body
    return struct.pack(">i", len(frame)) + frame


def handshake(mechanism: str, version: int = 1) -> bytes:
    return request(SASL_HANDSHAKE, version, string(mechanism))


def authenticate(token: bytes) -> bytes:
    return request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(token)) + token)


def metadata() -> bytes:
    return request(METADATA, 1, struct.pack(">i", 0))


class Connection:
    """One connection; `answer` is the next response without size and correlation id, None when the other side closes instead."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, *frames: bytes) -> Self:
        self._socket.sendall(b"".join(frames))
        return self

    def answer(self) -> bytes | None:
        head = self._read(4)
        return None if head is None else (self._read(struct.unpack(">i", head)[0]) or b"")[4:] or None

    def error(self) -> int | None:
        """The code that the next response begins with."""
        answer = self.answer()
        return None if answer is None else struct.unpack_from(">h", answer)[0]

    def outcome(self) -> tuple[int, str, bytes, int] | None:
        """A SaslAuthenticate response: error, message, token, lifetime."""
        answer = self.answer()
        if answer is None:
            return None
        error, length = struct.unpack_from(">hh", answer)
        at = 4 + max(length, 0)
        size = struct.unpack_from(">i", answer, at)[0]
        return error, answer[4:at].decode(), answer[at + 4 : at + 4 + size], struct.unpack_from(">q", answer, at + 4 + size)[0]

    def _read(self, n: int) -> bytes | None:
        data = b""
        while len(data) < n:
            try:
                part = self._socket.recv(n - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data
