"""CLIENT TRACKING of our clients: told in the servers' own words, in the order of replies, and of everything when a node is lost."""

from collections.abc import Callable, Iterator

import pytest
import redis
from redis.cache import CacheConfig

from mesh_core.lab import RedisCluster, RedisServer, ports
from mesh_core.lab.wait import until_true
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import Client, connect, objects
from tests.integration.redis.interleavings import Connection

KEYS = [f"k{number}" for number in range(10)]


def invalidated(*keys: str) -> list[object]:
    return [b"invalidate", [key.encode() for key in keys]]


@pytest.fixture
def tracker(mesh: Client) -> Iterator[Callable[..., Connection]]:
    """``tracker("BCAST")`` is a RESP3 client that tracks."""
    opened: list[Connection] = []

    def open_one(*options: str, resp: int = 3) -> Connection:
        one = Connection(mesh().connection_pool.connection_kwargs["port"], resp)
        opened.append(one)
        if options != ("",):
            assert one.ask(("CLIENT", "TRACKING", "ON", *options)) == [b"+OK"]
        return one

    yield open_one
    for one in opened:
        one.close()


def test_what_was_read_is_told_when_it_changes(mesh: Client, tracker: Callable[..., Connection]) -> None:
    one, other = tracker(), mesh()
    for key in KEYS:
        assert one.ask(("GET", key)) == [None]
        other.set(key, 1)
        assert one.next() == (True, invalidated(key))
        other.set(key, 2)  # not read since
        assert one.ask(("GET", key)) == [b"2"]
    assert one.pushes == []


def test_over_slots_and_in_transactions(mesh: Client, tracker: Callable[..., Connection]) -> None:
    one, other = tracker(), mesh()
    one.ask(("MGET", *KEYS))
    for key in KEYS:
        other.set(key, 1)
        assert one.next() == (True, invalidated(key))
    assert one.ask(("WATCH", "k1"), ("MULTI",), ("GET", "k1"), ("EXEC",))[-1] == [b"1"]
    other.set("k1", 2)
    assert one.next() == (True, invalidated("k1"))


def test_broadcast_by_prefix(mesh: Client, tracker: Callable[..., Connection]) -> None:
    one, other = tracker("BCAST", "PREFIX", "a:", "PREFIX", "b:"), mesh()
    for key in ("a:1", "b:2", "a:3"):
        other.set("c:0", 1)
        other.set(key, 1)
        assert one.next() == (True, invalidated(key))


def test_opt_in_and_out_and_no_loop(mesh: Client, tracker: Callable[..., Connection]) -> None:
    other = mesh()
    inside, outside, mine = tracker("OPTIN"), tracker("OPTOUT"), tracker("NOLOOP")
    inside.ask(("GET", "k1"), ("CLIENT", "CACHING", "YES"), ("GET", "k2"), ("GET", "k3"))
    outside.ask(("GET", "k1"), ("CLIENT", "CACHING", "NO"), ("GET", "k2"), ("GET", "k3"))
    mine.ask(("GET", "k1"), ("SET", "k1", "own"), ("GET", "k2"))
    for key in ("k1", "k2", "k3"):
        other.set(key, 1)
    assert inside.next() == (True, invalidated("k2"))
    assert {str(outside.next()) for _ in range(2)} == {str((True, invalidated(key))) for key in ("k1", "k3")}
    assert mine.next() == (True, invalidated("k2"))
    assert inside.ask(("PING",)) == [b"+PONG"]
    assert inside.pushes == []


def test_redirected_to_a_subscriber_of_resp2(mesh: Client, tracker: Callable[..., Connection]) -> None:
    ear, one, other = tracker("", resp=2), tracker("", resp=2), mesh()
    number = ear.ask(("CLIENT", "ID"))[0]
    assert isinstance(number, bytes)
    ear.ask(("SUBSCRIBE", "__redis__:invalidate"))
    assert one.ask(("CLIENT", "TRACKING", "ON", "REDIRECT", number[1:].decode()), ("GET", "k1")) == [b"+OK", None]
    other.set("k1", 1)
    assert ear.next() == (False, [b"message", b"__redis__:invalidate", [b"k1"]])


def test_words_are_the_servers(mesh: Client, tracker: Callable[..., Connection]) -> None:
    server = RedisServer("words").start()
    try:
        direct, ours = Connection(server.port, 3), tracker("")
        for line in (
            "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT CACHING YES", "CLIENT TRACKING ON PREFIX a", "CLIENT TRACKING ON BCAST OPTIN",
            "CLIENT TRACKING ON OPTIN OPTOUT", "CLIENT TRACKING ON REDIRECT 123456789", "CLIENT TRACKING ON REDIRECT x", "CLIENT TRACKING MAYBE",
            "CLIENT TRACKING ON NONSENSE", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING NO", "CLIENT CACHING YES", "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR", "CLIENT TRACKING ON OPTOUT", "CLIENT TRACKING ON BCAST", "CLIENT TRACKING OFF", "CLIENT CACHING MAYBE",
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab", "CLIENT TRACKING ON BCAST NOLOOP PREFIX a PREFIX b", "CLIENT TRACKING ON BCAST PREFIX c",
            "CLIENT TRACKING ON BCAST PREFIX cd", "CLIENT TRACKINGINFO", "CLIENT TRACKING OFF", "CLIENT TRACKINGINFO",
        ):  # fmt: skip
            words = tuple(line.split())
            assert ours.ask(words) == direct.ask(words), line
    finally:
        server.kill()


def test_a_lost_node_may_have_changed_everything(redis_cluster: RedisCluster, tracker: Callable[..., Connection]) -> None:
    one = tracker()
    one.ask(("GET", "k1"))
    for index in range(3):
        redis_cluster.master(index).command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert one.next() == (True, [b"invalidate", None])
    assert one.ask(("GET", "k1")) == [None]


def test_redis_py_keeps_what_it_has_read(mesh: Client) -> None:
    other = mesh()
    caching = connect(other.connection_pool.connection_kwargs["port"], protocol=3, cache_config=CacheConfig())
    for key in KEYS:
        other.set(key, "old")
        assert caching.get(key) == caching.get(key) == "old"
        other.set(key, "new")
        until_true("the new value", lambda key=key: caching.get(key) == "new")
    cache = caching.get_cache()
    assert cache is not None and cache.size > 0


def test_with_a_near_cache(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port, cluster=", nearCache: {}"))
    other, caching = connect(port), connect(port, protocol=3, cache_config=CacheConfig())
    for number in range(200):
        other.set("k", number)
        until_true("the new value", lambda number=number: caching.get("k") == str(number))
        assert other.get("k") == str(number)


def test_redis_py_enables_and_disables(mesh: Client) -> None:
    for resp in (2, 3):
        one, other = mesh(protocol=resp, single_connection_client=True), mesh(protocol=resp, single_connection_client=True)
        assert one.client_tracking_on()
        assert one.client_tracking_off()
        assert one.client_tracking_on(clientid=one.client_id())
        assert one.client_tracking_off()
        assert one.client_tracking_on(clientid=other.client_id())
        assert other.client_tracking_off()
        with pytest.raises(redis.DataError):
            one.client_tracking_on(prefix=["foo", "bar", "blee"])
