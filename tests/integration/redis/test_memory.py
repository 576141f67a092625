"""What clients cost that say nothing, or do not read."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

CLIENTS = 2000
KIB = 1024
EACH = 5 * KIB
WHOLE = 64 * KIB * KIB


def test_two_thousand_idle_clients_cost_little(sidecar: Callable[..., Sidecar], redis_cluster: RedisCluster) -> None:
    port = ports.free()
    process = psutil.Process(sidecar(objects(redis_cluster.addresses, port)).pid)

    def use(client: socket.socket, number: int) -> None:
        key = b"idle:%d" % number
        client.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$64\r\n%s\r\n" % (len(key), key, b"x" * 64))
        assert client.recv(64) == b"+OK\r\n"

    with ExitStack() as stack:

        def connect(number: int) -> None:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            use(client, number)

        for number in range(20):
            connect(number)
        before = process.memory_info().rss
        for number in range(CLIENTS):
            connect(number)
        after = process.memory_info().rss
    assert after - before <= CLIENTS * EACH
    assert after <= WHOLE


REPLY = 4 * KIB * KIB
REPLIES = 60
WATCHED_S = 2.0


# A read is thrown away and fetched again; what may not be asked for again costs the one reply that shows how large they are.
@pytest.mark.parametrize(("command", "most"), [("GET", REPLY), ("GETEX", REPLY + KIB * KIB)])
def test_sixty_large_replies_that_nobody_reads_cost_no_more_than_one(
    sidecar: Callable[..., Sidecar], redis_cluster: RedisCluster, command: str, most: int
) -> None:
    port = ports.free()
    process = psutil.Process(sidecar(objects(redis_cluster.addresses, port)).pid)
    client = connect(port)
    names = [f"large:{number}" for number in range(3)]
    for name in names:
        client.set(name, "x" * REPLY)
    before = process.memory_info().rss
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"".join(f"{command} {names[number % 3]}\r\n".encode() for number in range(REPLIES)))
        peak, deadline = 0, time.monotonic() + WATCHED_S
        while time.monotonic() < deadline:
            peak = max(peak, process.memory_info().rss)
        left = REPLIES * (REPLY + len(f"${REPLY}\r\n\r\n"))
        while left:
            left -= len(slow.recv(64 * KIB))
            peak = max(peak, process.memory_info().rss) if left % (64 * KIB) == 0 else peak
        # All bytes came; then nothing of them is kept.
        assert client.ping()
        after = process.memory_info().rss
    client.delete(*names)
    assert peak - before <= most
    assert after - before <= 3 * KIB * KIB
