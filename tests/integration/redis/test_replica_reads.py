"""Reads on replicas: they are read, a client sees what it wrote, no answer is too old, and nobody notices when one dies."""

from collections.abc import Callable

import pytest
import redis

from mesh_core.lab import LabError, RedisCluster, RedisServer, ports, until
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.load import Load, Loop

KEYS = [str(number) for number in range(100)]


def gets(server: RedisServer) -> int:
    """How many GETs a server has answered."""
    return int(server.client().info("commandstats").get("cmdstat_get", {}).get("calls", 0))


def serve(cluster: RedisCluster, sidecar: Callable[..., Sidecar], reads: str) -> int:
    port = ports.free()
    sidecar(objects(cluster.addresses, port, cluster=f", reads: {{{reads}}}"))
    return port


def read_on(client: redis.Redis, servers: list[RedisServer]) -> None:
    """Reads until each of the servers has answered some."""
    before = [gets(server) for server in servers]

    def attempt() -> None:
        for key in KEYS:
            client.get(key)
        left = [server.name for server, calls in zip(servers, before, strict=True) if gets(server) == calls]
        if left:
            raise LabError(f"not read: {left}")

    until("reads go to the replicas", attempt)


def test_replicas_read_for_masters(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = serve(redis_cluster, sidecar, "from: replicas, maxLag: 2s")
    client = connect(port)
    client.mset(dict.fromkeys(KEYS, "x"))
    reader = connect(port)
    read_on(reader, [redis_cluster.replica(shard) for shard in range(3)])
    masters = [redis_cluster.master(shard) for shard in range(3)]
    before = [gets(master) for master in masters]
    assert [reader.get(key) for key in KEYS] == ["x"] * len(KEYS)
    assert reader.mget(KEYS) == ["x"] * len(KEYS)
    assert [gets(master) for master in masters] == before


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_client_sees_what_it_wrote(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], protocol: int) -> None:
    port = serve(redis_cluster, sidecar, "from: replicas, maxLag: 1s")
    client = connect(port, protocol=protocol)
    client.delete("own", "{own}count")
    replicas = [redis_cluster.replica(shard) for shard in range(3)]
    read_on(client, replicas)
    before = [gets(replica) for replica in replicas]
    for number in range(500):
        client.set("own", number)
        assert client.get("own") == str(number)
        with client.pipeline() as pipe:
            pipe.incr("{own}count").get("own").execute()
        assert client.get("{own}count") == client.mget(["{own}count", KEYS[0]])[0] == str(number + 1)
        client.get(KEYS[number % len(KEYS)])
    assert sum(gets(replica) for replica in replicas) > sum(before)


def test_on_request_of_the_client(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = serve(redis_cluster, sidecar, "from: replicas, clients: readonly")
    asked, plain = connect(port, single_connection_client=True), connect(port)
    assert asked.execute_command("READONLY") in ("OK", True)
    replicas = [redis_cluster.replica(shard) for shard in range(3)]
    read_on(asked, replicas)
    before = [gets(replica) for replica in replicas]
    for key in KEYS:
        plain.get(key)
    assert [gets(replica) for replica in replicas] == before


def test_the_near_ones_read(sidecar: Callable[..., Sidecar]) -> None:
    """Two replicas each: of the zones that the servers tell themselves, those of the sidecar's own are read, and no others."""
    with start(lambda: RedisCluster(replicas=2)) as cluster:
        for place, server in enumerate(cluster.servers):
            server.command("CONFIG", "SET", "availability-zone", "west" if 3 <= place < 6 else "east")
        until("the zones are known", lambda: all_know_zones(cluster))
        port = ports.free()
        text = objects(cluster.addresses, port, cluster=", reads: {from: nearest, maxLag: 2s}")
        sidecar(text, env={"MIDSTREAM_ZONE": "west"})
        client = connect(port)
        read_on(client, cluster.servers[3:6])
        before = [gets(server) for server in cluster.servers]
        for key in KEYS:
            client.get(key)
        after = [gets(server) for server in cluster.servers]
        assert sum(after[3:6]) - sum(before[3:6]) == len(KEYS)
        assert after[:3] + after[6:] == before[:3] + before[6:]


def all_know_zones(cluster: RedisCluster) -> None:
    """LabError until every node lists every replica with its zone."""
    for server in cluster.servers:
        raw = server.client().connection_pool.get_connection()
        raw.send_command("CLUSTER", "SLOTS")
        told = str(raw.read_response())
        if told.count("west") != 3 or told.count("east") != 6:
            raise LabError(f"{server.name}: {told}")


def test_who_falls_behind_is_not_read(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    """A replica follows its master no more, but answers: it logs in with a password that the master does not have."""
    replica = own_cluster.replica(0)
    port = serve(own_cluster, sidecar, "from: replicas, maxLag: 1s")
    key = next(key for key in KEYS if redis.crc.key_slot(key.encode()) < 16384 // 3)
    writer, reader = connect(port), connect(port)
    writer.set(key, "old")
    read_on(reader, [replica])
    replica.command("CONFIG", "SET", "masterauth", "wrong")
    replica.command("CLIENT", "KILL", "TYPE", "MASTER")
    until("the replica follows no more", lambda: _equal(replica.command("ROLE")[3] in ("connect", "connecting", "handshake"), True))
    writer.set(key, "new")
    until("the new value is read", lambda: _equal(reader.get(key), "new"))
    assert [reader.get(key) for _ in range(500)] == ["new"] * 500
    assert direct(replica, key) == "old"


def direct(replica: RedisServer, key: str) -> object:
    """What the replica itself answers."""
    client = replica.client(single_connection_client=True)
    client.execute_command("READONLY")
    return client.get(key)


def _equal(value: object, wanted: object) -> None:
    if value != wanted:
        raise LabError(f"{value!r} is not {wanted!r}")


class Reads(Loop):
    """GET and MGET of keys that nobody changes."""

    def step(self, client: redis.Redis, number: int) -> None:
        if client.get(KEYS[number % len(KEYS)]) != "x" or client.mget(KEYS[:5]) != ["x"] * 5:
            self.errors.append("another value than x")


def test_a_replica_that_dies_is_not_noticed(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = serve(own_cluster, sidecar, "from: replicas, maxLag: 2s")
    connect(port).mset(dict.fromkeys(KEYS, "x"))
    with Load(lambda: connect(port), [Reads() for _ in range(4)]) as load:
        until("replicas read", lambda: [_equal(gets(own_cluster.replica(shard)) > 0, True) for shard in range(3)])
        own_cluster.replica(0).kill()
        load.goes_on()
        killed = own_cluster.kill_master(1)
        load.goes_on(5)
        own_cluster.wait_failover(1, killed)
        load.goes_on()
    assert load.errors == []
