"""RedisMirror: a second server gets a share of the commands, its replies are compared, and clients never notice it."""

import json
import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

MIRROR = """
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: next}}
spec: {{nodes: ["127.0.0.1:{port}"], mode: single}}
---
apiVersion: midstream/v1
kind: RedisMirror
metadata: {{name: next}}
spec: {{listeners: [cache], backend: next, percent: 100, class: [read, write], prefixes: ["m:"]}}
---
apiVersion: midstream/v1
kind: Tap
metadata: {{name: log}}
spec: {{listeners: [cache]}}
"""


@pytest.fixture
def next_server() -> Iterator[RedisServer]:
    server = start(lambda: RedisServer().start())
    yield server
    server.kill()


def counts(sidecar: Sidecar) -> dict[str, int]:
    text = httpx.get(f"http://{sidecar.admin}/metrics").text
    found = re.findall(r'^midstream_redis_mirrored_total{.*backend="next",result="(\w+)"} (\d+)$', text, re.MULTILINE)
    return {result: int(number) for result, number in found}


def until(sidecar: Sidecar, wanted: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    last = time.monotonic() + 20
    while not wanted(counts(sidecar)):
        assert time.monotonic() < last, counts(sidecar)
    return counts(sidecar)


def test_replies_are_compared_and_differences_told(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], next_server: RedisServer) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port, more=MIRROR.format(port=next_server.port)))
    client, mirror = connect(port), connect(next_server.port)
    client.flushall()
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"m:{number}", number).get(f"m:{number}").set(f"other:{number}", number)
        pipe.sadd("m:set", *range(200)).smembers("m:set").hset("m:hash", mapping={"a": "1"}).hgetall("m:hash").get("m:nosuch").lpush("m:1", 1)
        pipe.execute(raise_on_error=False)
    assert until(process, lambda counts: counts["equal"] == 206) == {"equal": 206, "different": 0, "failed": 0, "skipped": 0}
    assert mirror.dbsize() == 102
    mirror.set("m:7", "another")
    assert client.get("m:7") == "7"
    assert client.get("m:8") == "8"
    assert until(process, lambda counts: counts["equal"] == 207 and counts["different"] == 1)
    last = time.monotonic() + 20
    while "MIRRORDIFF" not in process.log:
        assert time.monotonic() < last, process.log
    lines = [json.loads(line) for line in process.log.splitlines() if "MIRRORDIFF" in line]
    assert [(line["verb"], line["resources"], line["backend"]) for line in lines] == [("GET", ["m:7"], "next")]
    next_server.kill()
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.get(f"m:{number % 100}")
        assert pipe.execute() == [str(number % 100) for number in range(2000)]
    after = until(process, lambda counts: sum(counts.values()) == 2208)
    assert after["equal"] == 207 and after["failed"] + after["skipped"] == 2000


def test_a_mirror_that_hangs_delays_nobody(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], next_server: RedisServer) -> None:
    port = ports.free()
    process = sidecar(objects(redis_cluster.addresses, port, more=MIRROR.format(port=next_server.port)))
    client = connect(port)
    client.set("m:1", "x" * 1000)
    until(process, lambda counts: counts["equal"] == 1)
    next_server.process.pause()
    with client.pipeline(transaction=False) as pipe:
        for _ in range(5000):
            pipe.get("m:1")
        assert pipe.execute() == ["x" * 1000] * 5000
    assert counts(process)["skipped"] == 5000 - 256
    next_server.process.resume()
    assert until(process, lambda counts: counts["equal"] == 257)
