"""RedisKeyStats: the keys that are used most, and the largest, are in the sidecar's metrics."""

import re
import time
from collections.abc import Callable

import httpx
import pytest

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

STATS = """
---
apiVersion: midstream/v1
kind: RedisKeyStats
metadata: {name: keys}
spec: {listeners: [cache], top: 3, sample: 4, bigBytes: 5000, window: 1s}
"""
ROUTES = """
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {name: keys}
spec: {listeners: [cache], routes: [{prefix: "", backend: cache, rewrite: "tenant:"}]}
"""


def listed(sidecar: Sidecar, name: str) -> dict[str, int]:
    """The keys of a list and their numbers."""
    text = httpx.get(f"http://{sidecar.admin}/metrics").text
    found = re.findall(rf'^midstream_redis_{name}{{family="redis",listener="cache",key="(.*)"}} (\d+)$', text, re.MULTILINE)
    return {key: int(number) for key, number in found}


@pytest.mark.parametrize("more", ["", ROUTES])
def test_hot_and_big_keys_are_listed(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], more: str) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port, more=STATS + more))
    client = connect(port)
    client.set("written", "x" * 40_000)
    hot: dict[str, int] = {}
    big: dict[str, int] = {}
    until = time.monotonic() + 30
    while not (hot and {"written", "read"} <= big.keys()) and time.monotonic() < until:
        with client.pipeline(transaction=False) as pipe:
            for number in range(300):
                pipe.get("hot").get("warm" if number % 3 == 0 else f"rare:{number}").hget("hot", "f")
            pipe.execute(raise_on_error=False)
        client.append("read", "x" * 4_000)
        client.get("read")
        client.set("written", "x" * 40_000)
        client.get("small")
        hot, big = listed(process, "hot_key_commands"), listed(process, "big_key_bytes")
    assert next(iter(hot)) == "hot" and len(hot) <= 3
    assert set(big) == {"written", "read"} and big["written"] > 40_000 and big["read"] > 5_000


def test_nothing_is_listed_unless_asked_for(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port))
    connect(port).get("k")
    assert "midstream_redis_hot" not in httpx.get(f"http://{process.admin}/metrics").text
