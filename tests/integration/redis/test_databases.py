"""Databases other than the first: of one server, and of a cluster that has them (Valkey 9), the answers are those of one server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import objects
from tests.integration.redis.raw import Raw
from tests.integration.redis.test_probes import answers, scenes

SCENES = scenes("databases.txt")


@pytest.fixture(scope="module")
def through_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a sidecar before one server."""
    server = start(lambda: RedisServer("behind").start())
    port = ports.free()
    sidecar = Sidecar(objects([server.address], port, cluster=", mode: single"), tmp_path_factory.mktemp("server"))
    sidecar.start()
    yield port
    sidecar.kill()
    server.kill()


@pytest.fixture(scope="module")
def through_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a sidecar before a cluster with 16 databases."""
    cluster = start(lambda: RedisCluster(replicas=0, options=("--cluster-databases", "16")).start())
    port = ports.free()
    sidecar = Sidecar(objects(cluster.addresses, port), tmp_path_factory.mktemp("cluster"))
    sidecar.start()
    yield port
    sidecar.kill()
    cluster.kill()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("scene", SCENES)
def test_a_cluster_with_databases(single: RedisServer, through_cluster: int, scene: str, resp: int) -> None:
    assert answers(through_cluster, resp, SCENES[scene]) == answers(single.port, resp, SCENES[scene])


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("scene", SCENES)
def test_one_server(single: RedisServer, through_server: int, scene: str, resp: int) -> None:
    assert answers(through_server, resp, SCENES[scene]) == answers(single.port, resp, SCENES[scene])


def test_databases_are_swapped_on_one_server(through_server: int) -> None:
    with Raw(through_server) as connection, Raw(through_server) as other:
        connection.ask("FLUSHALL")
        connection.ask("SET", "a", "0")
        assert other.ask("SELECT", "1") == b"+OK\r\n"
        assert other.ask("GET", "a") == b"$-1\r\n"
        assert connection.ask("SWAPDB", "0", "1") == b"+OK\r\n"
        assert other.ask("GET", "a") == b"$1\r\n0\r\n"
        assert connection.ask("GET", "a") == b"$-1\r\n"


def test_a_cluster_without_databases_says_so(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    port = ports.free()
    sidecar = Sidecar(objects(redis_cluster.addresses, port), tmp_path)
    sidecar.start()
    with Raw(port) as connection:
        connection.ask("FLUSHALL")
        connection.ask("SET", "a", "0")
        assert connection.ask("SELECT", "1") == b"-ERR DB index is out of range\r\n"
        assert connection.ask("GET", "a") == b"$1\r\n0\r\n"
        assert connection.ask("COPY", "a", "b", "DB", "1") == b"-ERR DB index is out of range\r\n"
        assert connection.ask("EXISTS", "b") == b":0\r\n"
    sidecar.kill()
