"""Nodes that hang: replicas are not read for a while, masters fail at once where their RedisCluster says so; both are taken back."""

from collections.abc import Callable, Iterator

import pytest
import redis

from mesh_core.lab import LabError, RedisCluster, RedisServer, ports, until
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.load import Load
from tests.integration.redis.test_replica_reads import KEYS, Reads, read_on


@pytest.fixture
def server() -> Iterator[RedisServer]:
    one = start(lambda: RedisServer("alone").start())
    yield one
    one.kill()


def at_least(sidecar: Sidecar, name: str, number: float, **labels: str) -> None:
    value = sidecar.metric(name, backend="cache", **labels)
    if value < number:
        raise LabError(f"{name} is {value}")


def test_reads_of_a_replica_that_hangs_go_elsewhere(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    more = ", reads: {from: replicas, maxLag: 2s}, health: {answerWithin: 200ms, maxEjection: 2s}"
    process = sidecar(objects(own_cluster.addresses, port, cluster=more))
    connect(port).mset(dict.fromkeys(KEYS, "x"))
    replica = own_cluster.replica(0)
    read_on(connect(port), [replica])
    with Load(lambda: connect(port), [Reads() for _ in range(4)]) as load:
        replica.process.pause()
        try:
            # What it owed was answered by its master, and it is out of use.
            until("reads go elsewhere", lambda: at_least(process, "midstream_redis_reads_moved_total", 1))
            until("it is ejected", lambda: at_least(process, "midstream_redis_ejections_total", 1, kind="silence"))
            load.goes_on(5)
        finally:
            replica.process.resume()
        read_on(connect(port), [replica])


def test_commands_for_a_master_that_hangs_fail_at_once(server: RedisServer, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    text = objects([server.address], port, cluster=", mode: single, health: {masters: fail, answerWithin: 200ms, maxEjection: 1s}")
    process = sidecar(text)
    client = connect(port)
    client.set("key", "x")
    server.process.pause()
    try:
        with pytest.raises(redis.RedisError, match="has not answered for 200 ms"):
            client.get("key")
        with pytest.raises(redis.RedisError, match=r"circuit of .* is open"):
            client.incr("other")
        at_least(process, "midstream_redis_nodes_ejected", 1)
    finally:
        server.process.resume()

    def works() -> None:
        try:
            assert client.get("key") == "x"
        except redis.RedisError as error:
            raise LabError(str(error)) from error

    until("it is taken back", works)
