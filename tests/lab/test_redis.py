"""Redis in the lab: a real cluster, and what failover and a moving slot look like from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import AskError, MovedError, TryAgainError

from mesh_core.lab import RedisCluster, RedisServer, redis_binaries
from tests.conftest import start

SLOT_OF_FOO = 12182  # CRC16("foo") mod 16384, the cluster specification's own example


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[RedisCluster]:
    """Apart from the session's one: these tests kill masters. With a password, so that MIGRATE needs it too."""
    cluster = start(lambda: RedisCluster(password="secret").start())
    yield cluster
    cluster.kill()


def test_all_slots_are_served(redis_cluster: RedisCluster) -> None:
    client = redis_cluster.client()
    for index in range(50):
        client.set(f"lab:{index}", index)
    assert [int(client.get(f"lab:{index}")) for index in range(50)] == list(range(50))
    masters = [node for node in redis_cluster.nodes() if node.is_master]
    assert len(masters) == 3 and sum(last - first + 1 for node in masters for first, last in node.slots) == 16384


def test_a_single_server_wants_its_password() -> None:
    server = start(lambda: RedisServer(password="secret").start())
    assert server.client().ping()
    with pytest.raises(redis.AuthenticationError):
        server.client(password=None).ping()
    server.kill()


def test_the_distributions_server() -> None:
    binary = redis_binaries.debian()
    if binary is None:
        pytest.skip("not installed: redis-server")
    with RedisServer("debian", binary=binary) as server:
        assert server.client().info("server")["redis_version"].startswith(("6.", "7.", "8."))


def test_slot_migration_step_by_step(own_cluster: RedisCluster) -> None:
    client = own_cluster.client()
    client.set("foo", "here")
    client.set("{foo}other", "there")
    masters = [own_cluster.master(index) for index in range(3)]
    target = next(i for i in range(3) if masters[i].command("CLUSTER", "COUNTKEYSINSLOT", SLOT_OF_FOO) == 0)
    migration = own_cluster.migrate_slot(SLOT_OF_FOO, to=target)
    migration.begin()
    with pytest.raises(AskError, match=f"{SLOT_OF_FOO} 127.0.0.1:"):
        migration.source.command("GET", "{foo}absent")
    assert migration.move_keys(1) == 1
    with pytest.raises(TryAgainError):
        migration.source.command("MGET", "foo", "{foo}other")
    migration.finish()
    assert migration.target.command("MGET", "foo", "{foo}other") == ["here", "there"]
    with pytest.raises(MovedError, match=f"{SLOT_OF_FOO} 127.0.0.1:"):
        migration.source.command("GET", "foo")
    own_cluster.wait_ok()


def test_orderly_failover_swaps_roles(own_cluster: RedisCluster) -> None:
    old = own_cluster.master(1)
    new = own_cluster.failover(1)
    assert new is not old and new in own_cluster.shard(1)
    own_cluster.wait_ok()
    assert own_cluster.replica(1) is old


def test_a_killed_master_is_replaced_and_comes_back_as_replica(own_cluster: RedisCluster) -> None:
    dead = own_cluster.kill_master(0)
    new = own_cluster.wait_failover(0, dead)
    assert new.command("ROLE")[0] == "master" and new is not dead
    dead.start()
    own_cluster.wait_ok()
    assert dead.command("ROLE")[0] == "slave"
