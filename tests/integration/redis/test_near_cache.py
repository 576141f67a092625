"""The near cache: what it answers, what it must not, and that nobody reads what he could know to be old."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from mesh_core.lab.wait import until_true
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.interleavings import Interleavings

LONG = int(os.environ.get("MIDSTREAM_INTERLEAVINGS", "30000"))  # reads of the drill; 1,000,000 take some minutes


class Near:
    """A sidecar with a near cache before a cluster."""

    def __init__(self, cluster: RedisCluster, folder: Path, tracking: str) -> None:
        self.port = ports.free()
        spec = f", nearCache: {{prefixes: ['near:', 'other:'], tracking: {tracking}}}"
        self.process = Sidecar(objects(cluster.addresses, self.port, cluster=spec), folder)
        self.process.start()
        self.client = connect(self.port)
        self.direct = cluster.client()

    def reads(self, result: str) -> float:
        return self.process.metric("midstream_near_cache_reads_total", result=result)

    def warm(self, read: Callable[[], object]) -> object:
        """Reads until an answer came from the cache; that answer."""
        before = self.reads("hit")
        answers: list[object] = []

        def hit() -> bool:
            answers.append(read())
            return self.reads("hit") > before

        until_true("a hit", hit)
        assert all(answer == answers[-1] for answer in answers)
        return answers[-1]


@pytest.fixture(scope="module", params=["broadcast", "optin"])
def shared(request: pytest.FixtureRequest, redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Near]:
    near = Near(redis_cluster, tmp_path_factory.mktemp("near"), request.param)
    yield near
    near.process.stop()


@pytest.fixture
def near(shared: Near) -> Near:
    """A sidecar with a near cache before the shared cluster, which is empty."""
    shared.client.flushall()
    return shared


READS: list[tuple[tuple[object, ...], tuple[object, ...]]] = [
    (("SET", "near:s", "value"), ("GET", "near:s")),
    (("SET", "near:s", "value"), ("STRLEN", "near:s")),
    (("SET", "near:s", "value"), ("GETRANGE", "near:s", 1, 2)),
    (("SET", "near:s", "value"), ("EXISTS", "near:s")),
    (("SET", "near:s", "value"), ("TYPE", "near:s")),
    (("SET", "near:s", "value"), ("MGET", "near:s")),
    (("HSET", "near:h", "f", 1, "g", 2), ("HGETALL", "near:h")),
    (("HSET", "near:h", "f", 1, "g", 2), ("HMGET", "near:h", "f", "x")),
    (("RPUSH", "near:l", 1, 2, 3), ("LRANGE", "near:l", 0, -1)),
    (("SADD", "near:set", 1, 2, 3), ("SMEMBERS", "near:set")),
    (("ZADD", "near:z", 1, "a", 2.5, "b"), ("ZRANGE", "near:z", 0, -1, "WITHSCORES")),
    (("XADD", "near:x", "1-1", "f", "v"), ("XRANGE", "near:x", "-", "+")),
]


@pytest.mark.parametrize("resp", [2, 3])
def test_answers_are_those_of_the_server_until_a_stranger_writes(near: Near, resp: int) -> None:
    client = connect(near.port, protocol=resp)
    node = near.direct.get_default_node()
    direct = redis.RedisCluster(host=node.host, port=node.port, decode_responses=True, protocol=resp)
    for write, read in READS:
        assert client.execute_command(*read) == near.warm(lambda read=read: client.execute_command(*read))
        for change in (write, ("DEL", read[1])):
            direct.execute_command(*change)
            expected = direct.execute_command(*read)
            until_true("the new answer", lambda read=read, expected=expected: client.execute_command(*read) == expected)
            assert near.warm(lambda read=read: client.execute_command(*read)) == expected


def test_what_is_written_here_is_seen_by_all_at_once(near: Near) -> None:
    readers = [connect(near.port, protocol=resp) for resp in (2, 3)]
    for version in range(200):
        near.client.set("near:k", version)
        assert [reader.get("near:k") for reader in readers] == [str(version)] * 2
    near.warm(lambda: readers[0].get("near:k"))
    for write in (
        lambda: near.client.eval("return redis.call('SET', KEYS[1], 'script')", 1, "near:k"),
        lambda: near.client.pipeline(transaction=True).set("near:k", "multi").execute(),
        lambda: near.client.mset({"near:k": "mset", "other:k": 1}),
        lambda: near.client.rename("other:k", "near:k"),
        lambda: near.client.delete("near:k"),
        lambda: near.client.set("near:k", "again"),
        lambda: near.client.flushall(),
    ):
        near.warm(lambda: readers[0].get("near:k"))
        write()
        assert readers[0].get("near:k") == near.direct.get("near:k") == readers[1].get("near:k")


def test_a_pipeline_sees_its_own_writes(near: Near) -> None:
    near.warm(lambda: near.client.get("near:k"))
    with near.client.pipeline(transaction=False) as pipe:
        for version in range(100):
            pipe.set("near:k", version).get("near:k")
        assert pipe.execute()[1::2] == [str(version) for version in range(100)]


def test_mget_over_slots_is_answered_by_parts(near: Near) -> None:
    keys = [f"near:{number}" for number in range(10)]
    near.client.mset({key: key for key in keys})
    assert near.warm(lambda: near.client.mget(keys)) == keys
    near.client.set(keys[3], "new")
    assert near.client.mget(keys)[3] == "new"


def test_what_is_not_asked_for_is_not_kept(near: Near) -> None:
    near.client.set("elsewhere", 1)
    near.client.rpush("near:l", *range(10))
    misses, hits = near.reads("miss"), near.reads("hit")
    for _ in range(5):
        near.client.get("elsewhere")
        near.client.ttl("near:l")
        near.client.object("encoding", "near:l")
        near.client.sort("near:l")
        near.client.eval_ro("return redis.call('LLEN', KEYS[1])", 1, "near:l")
    assert near.reads("miss") == misses
    assert near.reads("hit") == hits


def test_keys_end_in_time(near: Near) -> None:
    near.warm(lambda: near.client.get("near:k"))
    hits = near.reads("hit")
    near.client.set("near:k", 1, px=2000)
    until_true("its end", lambda: near.client.get("near:k") is None)
    assert near.direct.get("near:k") is None
    assert near.reads("hit") > hits


def test_fields_that_end_by_themselves_are_not_kept(near: Near) -> None:
    near.client.hset("near:h", mapping={"f": 1, "g": 2})
    near.warm(lambda: near.client.hget("near:h", "f"))
    try:
        assert near.client.execute_command("HPEXPIRE", "near:h", 300, "FIELDS", 1, "f") == [1]
    except redis.ResponseError:
        pytest.skip("this server knows no HPEXPIRE")
    hits = near.reads("hit")
    until_true("its end", lambda: near.client.hget("near:h", "f") is None)
    assert near.reads("hit") == hits


def test_watch_reads_from_the_server(near: Near) -> None:
    near.client.set("near:k", 1)
    near.warm(lambda: near.client.get("near:k"))
    with near.client.pipeline() as pipe:
        pipe.watch("near:k")
        hits = near.reads("hit")
        assert pipe.get("near:k") == "1"
        assert near.reads("hit") == hits
        near.direct.set("near:k", 2)
        pipe.multi()
        pipe.set("near:k", 3)
        with pytest.raises(redis.WatchError):
            pipe.execute()


def test_memory_is_bounded(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port, cluster=", nearCache: {maxBytes: 200000, maxEntryBytes: 5000}"))
    client = connect(port)
    client.flushall()
    client.set("large", "x" * 6000)
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"k{number}", "x" * 1000)
        pipe.execute()
    until_true("evictions", lambda: [client.get(f"k{number}") for number in range(1000)] and process.metric("midstream_near_cache_evictions_total"))
    assert process.metric("midstream_near_cache_bytes") <= 200000
    assert all(client.get("large") == "x" * 6000 for _ in range(10))


def test_nobody_reads_what_he_could_know_to_be_old(own_cluster: RedisCluster, tmp_path: Path) -> None:
    """The sidecars have their nodes tell in different ways."""
    sidecars = [Near(own_cluster, tmp_path / tracking, tracking) for tracking in ("broadcast", "optin")]
    drill = Interleavings(own_cluster, [one.port for one in sidecars])

    def lose_a_master() -> None:
        until_true("half of the reads", lambda: drill.reads > LONG / 2 or drill.violations)
        drill.pause_writers()
        dead = own_cluster.kill_master(0)
        own_cluster.wait_failover(0, dead)
        drill.go_on.set()

    try:
        drill.run(LONG, meanwhile=lose_a_master)
        hits = sum(one.reads("hit") for one in sidecars)
    finally:
        for one in sidecars:
            one.process.stop()
    print(f"{drill.reads} reads, {hits:.0f} of them hits, {drill.writes} writes, {drill.unknown} of unknown fate, {drill.kills} cuts")
    assert drill.violations == []
    assert hits > drill.reads / 10
    assert drill.kills > 0
