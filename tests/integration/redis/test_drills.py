"""What happens behind clients must not happen to them: a master dies, slots move, another client breaks the protocol or reads nothing."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from mesh_core.lab.wait import until_true
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import Client, connect, objects

WRITERS = 8


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """A cluster of this test's own, to be broken."""
    cluster = start(lambda: RedisCluster().start())
    yield cluster
    cluster.kill()


class Writers:
    """Eight clients that write keys of their own until they are stopped, and note what was confirmed and what failed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.confirmed: dict[str, str] = {}
        self.errors: list[str] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(writer,)) for writer in range(WRITERS)]

    def __enter__(self) -> "Writers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _write(self, writer: int) -> None:
        client = connect(self.port)
        number = 0
        while not self.stopped.wait(0.005):
            key = f"writer:{writer}:{number}"
            number += 1
            try:
                client.set(key, number)
                self.confirmed[key] = str(number)
            except redis.RedisError as error:
                self.errors.append(repr(error))

    def goes_on(self) -> None:
        """Waits until each has written fifty times more, which reaches every shard."""
        goal = len(self.confirmed) + 50 * WRITERS
        until_true("writes go on", lambda: len(self.confirmed) >= goal)

    def lost(self) -> list[str]:
        client = connect(self.port)
        keys = list(self.confirmed)
        return [key for key, value in zip(keys, client.mget(keys), strict=True) if value != self.confirmed[key]]


def test_a_dead_master_costs_a_pause_and_no_error(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    with Writers(port) as writers:
        writers.goes_on()
        before = own_cluster.kill_master(0)
        own_cluster.wait_failover(0, before)
        writers.goes_on()
    assert writers.errors == []


def test_slots_move_under_load(redis_cluster: RedisCluster, mesh: Client) -> None:
    port = mesh().connection_pool.connection_kwargs["port"]
    with Writers(port) as writers:
        writers.goes_on()
        slot = mesh_slot("writer:0:0")
        source = next(index for index in range(3) if redis_cluster.master(index).command("CLUSTER", "COUNTKEYSINSLOT", slot))
        migration = redis_cluster.migrate_slot(slot, to=(source + 1) % 3)
        migration.begin()
        assert mesh().get("writer:0:0") == "1"
        assert mesh().set("writer:0:0", "1")
        writers.goes_on()
        migration.move_keys()
        assert mesh().get("writer:0:0") == "1"
        migration.finish()
        writers.goes_on()
    back = redis_cluster.migrate_slot(slot, to=source)
    back.begin()
    back.move_keys()
    back.finish()
    assert writers.errors == []
    assert writers.lost() == []


def mesh_slot(key: str) -> int:
    return redis.crc.key_slot(key.encode())


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
