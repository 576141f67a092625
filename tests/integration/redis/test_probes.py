"""Commands whose keys are in several slots answer, on the wire, what one server answers, in RESP2 and RESP3.

A probe is a scene of probes.txt: commands in turn on one connection of a single server and on one of the mesh. `a`, `b`, `c`, `d` are in slots of
three
masters. A line that begins with `~` answers a set: its elements are compared without their order.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import objects
from tests.integration.redis.raw import Raw


def scenes(file: str) -> dict[str, list[str]]:
    """The scenes of a file beside this one, by name."""
    texts = (Path(__file__).parent / file).read_text().split("\n[")[1:]
    return {name: scene.strip().split("\n") for name, _, scene in (text.partition("]") for text in texts)}


PROBES = scenes("probes.txt")


@pytest.fixture(scope="module")
def through(redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a sidecar before the shared cluster, for all probes."""
    port = ports.free()
    sidecar = Sidecar(objects(redis_cluster.addresses, port), tmp_path_factory.mktemp("probes"))
    sidecar.start()
    yield port
    sidecar.kill()


def answers(port: int, resp: int, scene: list[str]) -> list[tuple[str, object]]:
    with Raw(port) as connection:
        connection.ask("FLUSHALL")
    with Raw(port, resp) as connection:
        found: list[tuple[str, object]] = []
        for line in scene:
            words = [word.encode().decode("unicode_escape").encode("latin-1") for word in line.removeprefix("~").split(" ")]
            connection.send(*words)
            found.append((line, sorted(connection.elements()) if line.startswith("~") else connection.read()))
        return found


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("probe", PROBES)
def test_probe(single: RedisServer, through: int, probe: str, resp: int) -> None:
    assert answers(through, resp, PROBES[probe]) == answers(single.port, resp, PROBES[probe])


@pytest.fixture
def refusing(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> int:
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port, cluster=", crossSlot: refuse"))
    return port


def test_what_is_over_several_slots_can_be_refused(refusing: int) -> None:
    with Raw(refusing) as connection:
        for line in ("MGET a b", "MSET a 1 b 2", "SINTER a b", "RENAME a b", "BLPOP a b 1", "DEL a b", "XREAD STREAMS a b 0 0"):
            assert connection.ask(*line.split(" ")).startswith(b"-CROSSSLOT "), line
        assert connection.ask("MGET", "{a}1", "{a}2") == b"*2\r\n$-1\r\n$-1\r\n"


def test_what_would_take_too_much_is_refused_with_the_limit(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port, cluster=", crossSlotBytes: 100000"))
    with Raw(port) as connection:
        connection.ask("FLUSHALL")
        # Not to be compressed.
        for key in ("a", "b"):
            connection.ask("SADD", key, *(os.urandom(200) for _ in range(1000)))
        connection.ask("SADD", "d", "before")
        for line in ("SINTER b a", "SUNIONSTORE d a b", "RENAME a d"):
            assert b"over 100000 bytes (crossSlotBytes of the RedisCluster)" in connection.ask(*line.split(" ")), line
        assert connection.ask("SMEMBERS", "d") == b"*1\r\n$6\r\nbefore\r\n"
        assert connection.ask("SINTER", "b", "c") == b"*0\r\n"
        assert connection.ask("SCARD", "a") == b":1000\r\n"
