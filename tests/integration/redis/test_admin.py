"""Administration through the sidecar: settings and users of all nodes, logins as users of the nodes, pauses of a listener's clients."""

import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

ADMIN = ", admin: everywhere"


@pytest.fixture
def administered(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> Iterator[int]:
    """The port of a sidecar whose clients may administer the shared cluster; what they change is undone."""
    port = ports.free()
    redis_cluster.wait_told()
    sidecar(objects(redis_cluster.addresses, port, cluster=ADMIN))
    limits = [server.command("CONFIG", "GET", "slowlog-max-len")[1] for server in redis_cluster.servers]
    yield port
    for server, limit in zip(redis_cluster.servers, limits, strict=True):
        server.command("CONFIG", "SET", "slowlog-max-len", limit)
        server.command("ACL", "DELUSER", "app")


def test_settings_are_those_of_all_nodes(redis_cluster: RedisCluster, administered: int) -> None:
    client = connect(administered)
    assert client.config_set("slowlog-max-len", 77)
    assert {server.command("CONFIG", "GET", "slowlog-max-len")[1] for server in redis_cluster.servers} == {"77"}
    with pytest.raises(redis.ResponseError, match="of each node by itself"):
        client.config_set("cluster-announce-ip", "127.0.0.2")
    with pytest.raises(redis.ResponseError, match="slowlog-max-len"):
        client.config_set("slowlog-max-len", "many")


def test_settings_are_refused_by_default(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port))
    with pytest.raises(redis.ResponseError, match="`admin: everywhere` of the RedisCluster allows it"):
        connect(port).config_set("slowlog-max-len", 77)
    with pytest.raises(redis.ResponseError, match="users are those of the Listener"):
        connect(port).acl_users()


@pytest.mark.parametrize("protocol", [2, 3])
def test_clients_log_in_as_users_of_the_nodes(redis_cluster: RedisCluster, administered: int, protocol: int) -> None:
    admin = connect(administered)
    rules = ["on", ">secret", "~a*", "+@read", "+@write", "+@connection", "-client|kill", "&news"]
    admin.execute_command("ACL", "SETUSER", "app", "reset", *rules)
    assert all("app" in server.command("ACL", "USERS") for server in redis_cluster.servers)
    admin.acl_log_reset()
    app = connect(administered, username="app", password="secret", protocol=protocol, lib_name=None, lib_version=None)
    assert app.set("a", 1) and app.get("a") == "1" and app.mget("a", "a2", "a3") == ["1", None, None]
    assert app.client_info()["user"] == "app"
    for refused in (lambda: app.get("b"), app.acl_users, lambda: app.client_kill_filter(_id="1"), lambda: app.mset({"a": 1, "b": 2})):
        with pytest.raises(redis.exceptions.NoPermissionError):
            refused()
    assert {entry["username"] for entry in admin.acl_log()} == {"app"}
    with pytest.raises(redis.AuthenticationError):
        connect(administered, username="app", password="wrong", protocol=protocol).ping()
    admin.acl_deluser("app")
    with pytest.raises(redis.AuthenticationError):
        app.get("a")


def test_a_pause_is_of_all_workers(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port), workers=3)
    asker = connect(port)
    asker.flushall()
    clients = [connect(port) for _ in range(6)]
    assert all(client.ping() for client in clients)
    assert asker.client_pause(600_000, all=False)
    written: list[object] = []
    threads = [threading.Thread(target=lambda client=client: written.append(client.incr("a"))) for client in clients]
    for thread in threads:
        thread.start()
    assert {connect(port).get("a") for _ in range(6)} == {None}
    assert redis_cluster.client().get("a") is None and not written
    assert asker.client_unpause() in (True, "OK")
    for thread in threads:
        thread.join()
    assert sorted(str(count) for count in written) == ["1", "2", "3", "4", "5", "6"]
