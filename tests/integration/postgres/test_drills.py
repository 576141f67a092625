"""Servers that die, clients that do not read, bytes that are no protocol."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from mesh_core.lab import Postgres
from tests.conftest import start
from tests.integration.postgres.conftest import Mesh

KIB = 1024
BOUND_KIB = 64 * KIB
IDLE_CLIENT_KIB = 20


def test_idle_clients_do_not_notice_a_restart(mesh: Callable[..., Mesh]) -> None:
    server = start(lambda: Postgres("restarts", database="shop", users={"app": "app-password"}).start())
    one = mesh([server])

    async def main() -> None:
        idle, busy = await one.connect(), await one.connect()
        assert await idle.fetchval("select 1") == 1
        transaction = busy.transaction()
        await transaction.start()
        await busy.fetch("select 1")
        # The driver reads the error and the end of the stream in two turns, and takes no statement between them.
        is_ended = asyncio.Event()
        busy.add_termination_listener(lambda _: is_ended.set())
        await asyncio.get_running_loop().run_in_executor(None, server.kill)
        await asyncio.wait_for(is_ended.wait(), 30)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await busy.fetch("select 2")
        await asyncio.get_running_loop().run_in_executor(None, server.start)
        assert await idle.fetchval("select 3") == 3
        await idle.close()

    try:
        asyncio.run(main())
    finally:
        server.kill()


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def start_message(user: str = "app") -> bytes:
    body = struct.pack(">I", 3 << 16) + b"user\0" + user.encode() + b"\0database\0shop\0\0"
    return struct.pack(">I", len(body) + 4) + body


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def read_until(client: socket.socket, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        some = client.recv(65536)
        assert some, got
        got += some
    return got


def test_a_client_that_does_not_read_costs_bounded_memory(one: Mesh) -> None:
    assert one.sidecar.process is not None
    with socket.create_connection(("127.0.0.1", one.port)) as client:
        client.settimeout(30)
        client.sendall(start_message())
        read_until(client, b"Z\0\0\0\x05I")
        before = resident_kib(one.sidecar.process.pid)
        client.sendall(message(b"Q", b"select repeat('x', 1000000) from generate_series(1, 400)\0"))
        # Something of the reply is there; the rest, 400 MB, has nowhere to go. Others are served meanwhile.
        assert client.recv(KIB)
        for _ in range(20):
            assert one.run(lambda connection: connection.fetchval("select 1")) == 1
        assert resident_kib(one.sidecar.process.pid) - before < BOUND_KIB


def test_a_thousand_idle_clients_cost_little(one: Mesh) -> None:
    assert one.sidecar.process is not None
    with ExitStack() as clients:

        def connect() -> None:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", one.port)))
            client.settimeout(30)
            client.sendall(start_message() + message(b"Q", b"select 1\0"))
            read_until(client, b"SELECT 1\0Z\0\0\0\x05I")

        connect()
        before = resident_kib(one.sidecar.process.pid)
        for _ in range(1_000):
            connect()
        assert (resident_kib(one.sidecar.process.pid) - before) / 1_000 < IDLE_CLIENT_KIB


@pytest.mark.parametrize(
    "bytes_",
    [b"\xff\xff\xff\xff\0\3\0\0", b"GET / HTTP/1.1\r\n\r\n", os.urandom(64), start_message() + b"Q\xff\xff\xff\xff", start_message() + b"\0" * 5],
    ids=["4 GB startup", "http", "random", "4 GB query", "no message"],
)
def test_whoever_breaks_the_protocol_loses_its_own_connection(one: Mesh, bytes_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", one.port)) as client:
        client.settimeout(30)
        client.sendall(bytes_)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while some := client.recv(65536):
            got += some
    assert b"C08P01\0" in got
    assert one.run(lambda connection: connection.fetchval("select 1")) == 1
