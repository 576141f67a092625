"""A master is killed under load: a pause, and no error. `MIDSTREAM_DRILL_ROUNDS` kills that many masters one after the other."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import redis

from mesh_core.lab import LabError, RedisCluster, RedisServer, ports, until
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.load import Increments, Load, Sets, of_every_kind

ROUNDS = int(os.environ.get("MIDSTREAM_DRILL_ROUNDS", "1"))
WRITERS = 8
SHARDS = 3


def tags_of(shard: int, count: int = 20) -> list[str]:
    """Tags whose slots are one shard's."""
    first, last = redis.cluster.REDIS_CLUSTER_HASH_SLOTS * shard // SHARDS, redis.cluster.REDIS_CLUSTER_HASH_SLOTS * (shard + 1) // SHARDS
    return [tag for tag in map(str, range(count * 10)) if first <= redis.crc.key_slot(tag.encode()) < last][:count]


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_a_killed_master_costs_a_pause_and_no_error(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    """SET every 5 ms from 8 clients, each on one shard, so that the pauses of the shards are told apart."""
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    for number in range(ROUNDS):
        one_kill(own_cluster, port, number)
        for server in own_cluster.servers:
            if not server.process.alive:
                server.start()
        own_cluster.wait_ok()


def one_kill(cluster: RedisCluster, port: int, number: int) -> None:
    killed = number % SHARDS
    sets = [Sets(f"{number}:{writer}", tags_of(writer % SHARDS)) for writer in range(WRITERS)]
    counters = [Increments(f"{{{tags_of(shard)[0]}}}:count:{number}") for shard in range(SHARDS)]
    with Load(lambda: connect(port), [*sets, *counters]) as load:
        load.goes_on()
        before = cluster.kill_master(killed)
        gone = time.monotonic()
        cluster.wait_failover(killed, before)
        load.goes_on()
    pauses = [max(loop.longest_s for writer, loop in enumerate(sets) if writer % SHARDS == shard) for shard in range(SHARDS)]
    print(f"shard {killed} killed; longest pause by shard: {', '.join(f'{pause:.2f} s' for pause in pauses)}; "
          f"increments of unknown fate: {sum(counter.unknown for counter in counters)}")  # fmt: skip
    assert load.errors == []
    client = connect(port)
    # What the killed master had confirmed and not replicated yet is lost by replication's own rules; nothing sent after its death is.
    assert [key for loop in sets for key in loop.missing(client) if loop.sent[key] > gone] == []
    others = [loop for writer, loop in enumerate(sets) if writer % SHARDS != killed]
    assert [key for loop in others for key in loop.missing(client)] == []
    assert [fault for shard, counter in enumerate(counters) if shard != killed for fault in counter.wrong(client)] == []
    assert all(counter.unknown == 0 for shard, counter in enumerate(counters) if shard != killed)


def test_an_orderly_failover_is_not_noticed(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    """CLUSTER FAILOVER of each shard, under every kind of command: not even a write of unknown fate."""
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    with Load(lambda: connect(port), of_every_kind(lambda: connect(port))) as load:
        load.goes_on()
        for shard in range(SHARDS):
            own_cluster.failover(shard)
            load.goes_on()
    assert load.errors == []
    assert load.wrong() == []


def test_a_master_that_hangs_is_left(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    """It closes no connection: the others know better."""
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    sets = [Sets(str(writer), tags_of(writer % SHARDS)) for writer in range(WRITERS)]
    with Load(lambda: connect(port), sets) as load:
        load.goes_on()
        hung = own_cluster.master(0)
        os.kill(hung.process.pid, signal.SIGSTOP)
        try:
            until("another master", lambda: is_master(own_cluster.servers[3]))
            load.goes_on()
        finally:
            os.kill(hung.process.pid, signal.SIGCONT)
        load.goes_on()
    assert load.errors == []


def is_master(server: RedisServer) -> None:
    """LabError until it is."""
    if server.command("ROLE")[0] != "master":
        raise LabError("not yet")
