"""Back ends other than a cluster: one server, several of which one is the master, and a master with its sentinels."""

from collections.abc import Callable, Iterator

import pytest

from mesh_core.lab import LabError, RedisSentinels, RedisServer, ports, until
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect
from tests.integration.redis.load import Increments, Load, Sets, of_every_kind


def objects(spec: str, port: int) -> str:
    return f"""
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: cache}}
spec: {{{spec}, retryDeadline: 20s}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "127.0.0.1:{port}", protocol: redis, backend: cache}}
"""


@pytest.fixture
def watched() -> Iterator[RedisSentinels]:
    """A master, two replicas, three sentinels."""
    group = start(lambda: RedisSentinels())
    try:
        yield group.start()
    finally:
        group.kill()


def behind_sentinels(group: RedisSentinels, sidecar: Callable[..., Sidecar], more: str = "") -> int:
    port = ports.free()
    sidecar(objects(f"sentinels: {group.addresses}, master: {group.name}{more}", port))
    return port


def test_a_killed_master_behind_sentinels_costs_a_pause_and_no_error(watched: RedisSentinels, sidecar: Callable[..., Sidecar]) -> None:
    port = behind_sentinels(watched, sidecar)
    sets, counter = [Sets(str(writer), [str(writer)]) for writer in range(8)], Increments("count")
    with Load(lambda: connect(port), [*sets, counter]) as load:
        load.goes_on()
        watched.sentinels[0].kill()
        old = watched.kill_master()
        watched.wait_failover(old)
        load.goes_on()
        old.start()  # it comes back as what it was, until the sentinels tell it otherwise
        load.goes_on()
    print(f"longest pause: {max(loop.longest_s for loop in sets):.2f} s; increments of unknown fate: {counter.unknown}")
    assert load.errors == []


def test_an_orderly_failover_behind_sentinels(watched: RedisSentinels, sidecar: Callable[..., Sidecar]) -> None:
    """The old master is told to follow and cuts its clients off: what was on its way there may be of unknown fate, and nothing else fails."""
    port = behind_sentinels(watched, sidecar)
    sets = [Sets(str(writer), [str(writer)]) for writer in range(8)]
    with Load(lambda: connect(port), sets) as load:
        load.goes_on()
        new = watched.failover()
        load.goes_on()
        before = new.command("DBSIZE")
        load.goes_on()
        sizes = [(server.port, server.command("ROLE")[0], server.command("DBSIZE")) for server in watched.servers]
        assert new.command("DBSIZE") > before, sizes
    assert load.errors == []


def test_replicas_behind_sentinels_read(watched: RedisSentinels, sidecar: Callable[..., Sidecar]) -> None:
    client = connect(behind_sentinels(watched, sidecar, ", reads: {from: replicas, maxLag: 2s}"))
    client.set("a", "x")
    replicas = [server for server in watched.servers if server is not watched.master()]

    def attempt() -> None:
        assert client.get("a") == "x"
        if not all("cmdstat_get" in server.client().info("commandstats") for server in replicas):
            raise LabError("not all replicas have read")

    until("replicas read", attempt)
    assert [client.get("a") for _ in range(100)] == ["x"] * 100


def test_of_several_servers_the_master_is_found_and_followed(watched: RedisSentinels, sidecar: Callable[..., Sidecar]) -> None:
    """Without sentinels' help: the servers are asked for their roles."""
    port = ports.free()
    servers = [server.address for server in reversed(watched.servers)]
    sidecar(objects(f"nodes: {servers}, mode: single", port))
    sets = [Sets(str(writer), [str(writer)]) for writer in range(4)]
    with Load(lambda: connect(port), sets) as load:
        load.goes_on()
        old = watched.kill_master()
        watched.wait_failover(old)
        load.goes_on()
    assert load.errors == []


def test_one_server_passes_what_a_cluster_refuses(sidecar: Callable[..., Sidecar]) -> None:
    with start(lambda: RedisServer()) as server:
        port = ports.free()
        sidecar(objects(f'nodes: ["{server.address}"], mode: single', port))
        client = connect(port)
        client.mset({"a": "1", "b": "2", "c": "3"})
        assert client.mget("a", "b", "c") == ["1", "2", "3"]
        assert client.rename("a", "d")
        assert client.eval("return redis.call('MGET', KEYS[1], KEYS[2])", 2, "b", "c") == ["2", "3"]  # type: ignore[misc]
        with client.pipeline() as pipe:
            assert pipe.set("x", 1).set("y", 2).dbsize().execute() == [True, True, 5]
        client.lpush("queue:2", "item")
        assert list(client.blpop(["queue:1", "queue:2"], 5)) == ["queue:2", "item"]
        assert sorted(client.scan_iter()) == ["b", "c", "d", "x", "y"]
        assert client.execute_command("MOVE", "x", 1) == 1
        assert client.exists("x") == 0


def test_one_server_that_restarts_is_a_pause(sidecar: Callable[..., Sidecar]) -> None:
    server = start(lambda: RedisServer().start())
    try:
        port = ports.free()
        sidecar(objects(f'nodes: ["{server.address}"], mode: single', port))
        with Load(lambda: connect(port), [Sets(str(writer), [str(writer)]) for writer in range(4)]) as load:
            load.goes_on()
            server.kill()
            server.start()
            load.goes_on()
        assert load.errors == []
        server.command("FLUSHALL")
        with Load(lambda: connect(port), of_every_kind(lambda: connect(port))) as load:
            load.goes_on()
        assert load.errors + load.wrong() == []
    finally:
        server.kill()
