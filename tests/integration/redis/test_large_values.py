"""Values far larger than what a sidecar may hold."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator

import psutil

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

MIB = 1024 * 1024
VALUE = 100 * MIB
HELD = 4 * MIB


def pieces() -> Iterator[bytes]:
    for number in range(VALUE // MIB):
        yield number.to_bytes(4, "big") * (MIB // 4)


def test_a_value_of_100_mb_goes_through_and_is_held_nowhere(sidecar: Callable[..., Sidecar], redis_cluster: RedisCluster) -> None:
    port = ports.free()
    process = psutil.Process(sidecar(objects(redis_cluster.addresses, port)).pid)
    other = connect(port)
    other.set("{large}:small", "x")
    before = peak = process.memory_info().rss
    sent, received = hashlib.sha256(), hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"*5\r\n$3\r\nSET\r\n$7\r\n{large}\r\n$%d\r\n" % VALUE)
        for number, piece in enumerate(pieces()):
            client.sendall(piece)
            sent.update(piece)
            if number % 10 == 0:
                # The command is half sent; others of its node go on.
                assert other.get("{large}:small") == "x"
                peak = max(peak, process.memory_info().rss)
        client.sendall(b"\r\n$2\r\nEX\r\n$3\r\n100\r\n")
        assert client.recv(64) == b"+OK\r\n"
    assert 0 < other.ttl("{large}") <= 100

    for _ in range(2):  # by surprise, and as one that is known
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"GET {large}\r\n")
            received = hashlib.sha256()
            header = b"$%d\r\n" % VALUE
            stream = client.makefile("rb")
            assert stream.read(len(header)) == header
            for number in range(VALUE // MIB):
                received.update(stream.read(MIB))
                if number % 10 == 0:
                    assert other.get("{large}:small") == "x"
                    peak = max(peak, process.memory_info().rss)
            assert stream.read(2) == b"\r\n"
        assert received.digest() == sent.digest()
    other.delete("{large}", "{large}:small")
    assert peak - before <= HELD
