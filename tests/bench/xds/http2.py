"""One gRPC call over one HTTP/2 connection, as little of it as a client needs that only makes load: bytes in, bytes and messages out.

gRPC's own client costs as much CPU and memory as the server that is to be measured. Nothing of what this one leaves out is seen by a server: response
headers are not read, and requests are far smaller than the flow-control window that a server renews.
"""

import struct

from tests.bench.xds.peer import Lost

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = 0x1
_END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4
_STREAM = 1

# What gRPC's clients arrive at on a fast network; given back when half of it is used.
WINDOW_BYTES = 1024 * 1024
_DEFAULT_WINDOW_BYTES = 65_535


def opening(path: str, authority: str) -> bytes:
    """What a client says before its first message."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority, "te": "trailers", "content-type": "application/grpc"}
    settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, WINDOW_BYTES)
    block = b"".join(_literal(name, value) for name, value in headers.items())
    return (
        PREFACE
        + _frame(_SETTINGS, 0, 0, settings)
        + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_BYTES - _DEFAULT_WINDOW_BYTES))
        + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
    )


def data(message: bytes) -> bytes:
    """A gRPC message as one frame."""
    return _frame(_DATA, 0, _STREAM, b"\0" + struct.pack(">I", len(message)) + message)


class Receiver:
    """Of one connection. `replies` collects what must be sent back."""

    __slots__ = ("_body", "_raw", "_unacknowledged", "replies")

    def __init__(self) -> None:
        self._raw = b""  # of an unfinished frame
        self._body = b""  # of an unfinished message
        self._unacknowledged = 0
        self.replies: list[bytes] = []

    def receive(self, chunk: bytes) -> list[bytes]:
        """The messages that are whole now. Raises Lost when the server has ended the call."""
        raw = self._raw + chunk if self._raw else chunk
        bodies = [self._body] if self._body else []
        at, end = 0, len(raw)
        while end - at >= 9:
            length = raw[at] << 16 | raw[at + 1] << 8 | raw[at + 2]
            if end - at - 9 < length:
                break
            kind, flags, at = raw[at + 3], raw[at + 4], at + 9
            if kind == _DATA:
                bodies.append(raw[at : at + length])
                self._unacknowledged += length
            else:
                self._control(kind, flags, raw[at : at + length])
            at += length
        self._raw = raw[at:]
        if self._unacknowledged > WINDOW_BYTES // 2:
            grown = struct.pack(">I", self._unacknowledged)
            self.replies += [_frame(_WINDOW_UPDATE, 0, 0, grown), _frame(_WINDOW_UPDATE, 0, _STREAM, grown)]
            self._unacknowledged = 0
        return self._messages(bodies[0] if len(bodies) == 1 else b"".join(bodies))

    def _messages(self, body: bytes) -> list[bytes]:
        found = []
        at, end = 0, len(body)
        while end - at >= 5:
            length = int.from_bytes(body[at + 1 : at + 5], "big")
            if end - at - 5 < length:
                break
            found.append(body[at + 5 : at + 5 + length])
            at += 5 + length
        self._body = body[at:]
        return found

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self.replies.append(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.replies.append(_frame(_PING, _ACK, 0, payload))
        elif kind in (_RST, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            raise Lost(f"the server ended the call (frame {kind}): {payload!r}")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header without compression (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(_integer(len(text), 7) + text.encode() for text in (name, value))


def _integer(value: int, bits: int) -> bytes:
    """RFC 7541, 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((value,))
    out, value = bytearray((limit,)), value - limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
