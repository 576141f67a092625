"""What a small fetch takes: one record of 1 KB, one request under way, by a client that does nothing else."""

from __future__ import annotations

import socket
import statistics
import struct
import time

from tests.bench.ladder import Rung
from tests.bench.measure import Done

SMALL = "small"
FETCHES = 3_000
FETCH, VERSION = 1, 11


def fetches(rung: Rung, scale: float) -> Done:
    """By the broker's own address, as every Kafka client: the bootstrap connection may lead anywhere."""
    count = max(int(FETCHES * scale), 100)
    request = _request()
    times = []
    with socket.create_connection(_broker(rung.address)) as connection, connection.makefile("rb") as stream:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(request)
            answer = stream.read(struct.unpack(">i", stream.read(4))[0])
            times.append(time.perf_counter() - began)
            if len(answer) < 1_000:
                raise RuntimeError(f"a fetch brought {len(answer)} bytes: {answer[:60]!r}")
    return Done(count, count / sum(times), p50_s=statistics.median(times))


def _request() -> bytes:
    """The first record of the topic, at once; no fetch session."""
    partition = struct.pack(">iiqqi", 0, -1, 0, -1, 1 << 20)
    topics = struct.pack(">i", 1) + _text(SMALL) + struct.pack(">i", 1) + partition
    return _frame(FETCH, VERSION, struct.pack(">iiiibii", -1, 0, 1, 1 << 20, 0, 0, -1) + topics + struct.pack(">i", 0) + _text(""))


def _broker(bootstrap: str) -> tuple[str, int]:
    """Where the one broker says that it is (Metadata version 1)."""
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as stream:
        connection.sendall(_frame(3, 1, struct.pack(">i", 0)))
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    _, _, _, length = struct.unpack_from(">iiih", answer)
    told = answer[14 : 14 + length].decode()
    return told, struct.unpack_from(">i", answer, 14 + length)[0]


def _frame(key: int, version: int, body: bytes) -> bytes:
    frame = struct.pack(">hhi", key, version, 1) + _text("bench") + body
    return struct.pack(">i", len(frame)) + frame


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
