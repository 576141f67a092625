"""The clients of a listener are those of all workers of its sidecar."""

import threading
from collections.abc import Callable

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import Client, connect, objects

WORKERS = 3


@pytest.fixture
def many(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> Client:
    """A client of a sidecar with several workers; the acceptor gives each worker the same number."""
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port), workers=WORKERS)
    connect(port).flushall()
    return lambda **options: connect(port, **options)


def test_clients_are_listed_and_closed_wherever_they_are(many: Client) -> None:
    asker = many(client_name="asker")
    others = [many(client_name=f"other{number}") for number in range(2 * WORKERS)]
    ids = {other.client_id() for other in others}
    assert ids == {int(one["id"]) for one in asker.client_list() if one["name"].startswith("other")}
    assert asker.client_kill_filter(_id=str(min(ids))) == 1
    assert asker.client_kill_filter(skipme=True, _type="normal") >= len(ids) - 1
    assert [one["name"] for one in asker.client_list()] == ["asker"]
    with pytest.raises(redis.ResponseError, match="No such client"):
        asker.client_kill("127.0.0.1:1")


@pytest.mark.parametrize("keys", [["a"], ["a", "b"]])
def test_a_client_of_another_worker_is_unblocked(many: Client, keys: list[str]) -> None:
    """Once a node blocks it, and once it waits here for keys of several slots."""
    asker = many()
    waiting = [many() for _ in range(WORKERS)]
    ids = [client.client_id() for client in waiting]
    answers: list[object] = []
    threads = [threading.Thread(target=lambda client=client: answers.append(client.blpop(keys, timeout=30))) for client in waiting]
    for thread in threads:
        thread.start()
    for number in ids:
        while not asker.client_unblock(number):
            pass
    for thread in threads:
        thread.join()
    assert answers == [None] * WORKERS
    assert asker.client_unblock(999_999) == 0


def test_monitor_shows_the_clients_of_all_workers(many: Client) -> None:
    with many().monitor() as monitor:
        for number in range(2 * WORKERS):
            many().get(f"key:{number}")
        seen: set[str] = set()
        while len(seen) < 2 * WORKERS:
            command = monitor.next_command()["command"]
            seen |= {command} if command.startswith("GET key:") else set()
    assert seen == {f"GET key:{number}" for number in range(2 * WORKERS)}


def test_a_script_that_a_new_master_does_not_have_is_loaded_there(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    client = connect(port)
    digest = client.script_load("return redis.call('INCR', KEYS[1])")
    own_cluster.failover(0)
    for address in own_cluster.addresses:
        redis.Redis(port=int(address.rpartition(":")[2])).script_flush()
    assert [client.evalsha(digest, 1, key) for key in ("a", "b", "c", "d")] == [1, 1, 1, 1]


def test_wait_counts_the_replicas_of_every_master(many: Client) -> None:
    client = many()
    client.mset({"a": 1, "b": 2, "c": 3})
    assert client.wait(1, 10_000) == 1
    assert client.wait(2, 10) == 1
    assert client.wait(0, 0) in (0, 1)


def test_latencies_of_all_masters_are_added_up(many: Client) -> None:
    client = many()
    client.config_resetstat()
    for number in range(20):
        client.get(f"key:{number}")
    found = client.execute_command("LATENCY", "HISTOGRAM", "get")
    assert found[0] == "get"
    assert found[1][:2] == ["calls", 20]
    assert found[1][3][-1] == 20
