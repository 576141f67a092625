"""What clients that say nothing cost."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack

import psutil

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import objects

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
