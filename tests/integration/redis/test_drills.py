"""What one client does must not happen to others: it breaks the protocol, goes away, claims what it does not send."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import Client, connect, objects


@pytest.mark.parametrize(
    "garbage",
    [
        b"*1\r\n$4294967296\r\n",
        b"*1\r\n!\r\n",
        b"*2147483648\r\n",
        b"*-x\r\n",
        b'GET "a\r\n',
        b"\x16\x03\x01\x02\x00\x01\n\xff*9\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nabc\r\n",
    ],
)
def test_who_breaks_the_protocol_loses_its_own_connection_only(mesh: Client, garbage: bytes) -> None:
    other = mesh()
    assert other.set("a", 1)
    port = other.connection_pool.connection_kwargs["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as broken:
        broken.sendall(garbage)
        broken.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: broken.recv(65536), b""))
    assert said.startswith((b"-ERR Protocol error", b"-ERR unknown command"))
    assert other.get("a") == "1"


def test_a_client_that_goes_away_in_the_middle_harms_nobody(mesh: Client) -> None:
    other = mesh()
    port = other.connection_pool.connection_kwargs["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
        gone.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\nxxx")
    other.set("a", "whole")
    assert other.get("a") == "whole"


def test_a_claimed_length_costs_no_memory(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port)).process
    assert process is not None
    connect(port).set("a", 1)
    before = resident(process.pid)
    claims = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
    for claim in claims:
        claim.sendall(b"*2\r\n$3\r\nGET\r\n$30000000\r\nx")
    assert connect(port).get("a") == "1"
    assert resident(process.pid) - before < 20 * 1024 * 1024
    for claim in claims:
        claim.close()


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096
