"""Rollouts that are judged by what the sidecars report of their traffic."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import TracebackType

import pytest
import redis

from mesh_core.compile.types import SIDECAR_TYPES
from mesh_core.lab import RedisServer
from mesh_core.lab.wait import until_true
from tests.conftest import start
from tests.integration.control.simulated import Simulated
from tests.integration.process import Sidecar
from xds.client.ads import AdsClient, Place
from xds.client.loads import LoadReports
from xds.messages import message
from xds.protocol.client import Update

CACHE = """\
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: cache}}
spec: {{mode: single, nodes: ["{backend}"], retryDeadline: 200ms}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "127.0.0.1:0", protocol: redis, backend: cache}}
"""
# Every sidecar acknowledges it, and no command gets through any more.
DENY = """\
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: strict}
spec: {listeners: [cache], identities: ["*"], rules: [{deny: ["*"]}]}
"""
ALLOW = DENY.replace("deny", "allow").replace("strict", "lax")
# Nothing listens there: the sidecar takes it, and its commands fail.
WRONG = CACHE.format(backend="127.0.0.1:9")
CLIENTS = 4


@pytest.fixture(scope="module")
def backend() -> Iterator[RedisServer]:
    server = start(lambda: RedisServer().start())
    yield server
    server.kill()


class Traffic:
    """Ordinary clients of a sidecar that go on, whatever they are told."""

    def __init__(self, sidecar: Sidecar):
        host, port = sidecar.get("/config").json()["listeners"][0]["address"].split(":")
        self.done = self.failed = 0
        self._client = redis.Redis(host=host, port=int(port), socket_timeout=10)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            try:
                self._client.incr("count")
                self.done += 1
            except redis.RedisError:
                self.failed += 1


def rollout(plane, text: str, *steps: str, **more) -> None:
    answer = plane.post("/v1/rollout", {"sources": [{"file": "shop.yaml", "text": text}], "steps": list(steps), "holdSeconds": 0} | more)
    assert answer.status_code == 200, answer.text


def ended(plane) -> dict:
    until_true("it is over", lambda: plane.get("/v1/rollout").json()["phase"] in ("done", "taken back"))
    return plane.get("/v1/rollout").json()


def test_what_fails_commands_is_taken_back_before_others_have_it(control, sidecar, backend) -> None:
    plane = control()
    plane.apply(CACHE.format(backend=backend.address))
    zones = {"shop-1": "a", "shop-2": "b"}
    shops = {node: sidecar(control=plane.grpc, node=node, env={"MIDSTREAM_ZONE": zone}) for node, zone in zones.items()}
    with Traffic(shops["shop-1"]) as tried, Traffic(shops["shop-2"]) as other:
        # What harms nobody reaches all. A shared machine's latencies are nobody's fault.
        rollout(plane, ALLOW, "zone:a", "100%", gates={"latency": 1000})
        found = ended(plane)
        assert found["phase"] == "done", found
        # A policy that refuses everything.
        rollout(plane, DENY, "zone:a", "100%")
        found = ended(plane)
        assert (found["phase"], found["step"]) == ("taken back", 0)
        assert "Listener cache: refusals are " in found["reason"]
        assert "denied" in found["reason"]
        assert tried.failed
        # A back end that is not there.
        failed = tried.failed
        rollout(plane, WRONG, "shop-1", "100%", holdSeconds=30)
        found = ended(plane)
        assert (found["phase"], found["step"]) == ("taken back", 0)
        assert "Listener cache: errors are " in found["reason"]
        assert tried.failed > failed
        assert other.failed == 0, "the others never had it"
        # It works again where it was tried.
        done = tried.done
        until_true("it works again", lambda: tried.done > done)


class Shop(Simulated):
    """With real load reports, of traffic that fails while it holds a rule named "strict"."""

    def __init__(self, address: str, node: str, tier: str):
        self.node = node
        self.ever_held = False
        place = Place(labels={"tier": tier})
        self.client = AdsClient([address], node, SIDECAR_TYPES, self._on_update, beside=[lambda told: LoadReports(told, self._count)], place=place)

    async def _on_update(self, update: Update) -> list:
        self.ever_held = self.ever_held or any(name == "strict" for _, name in update.changed)
        return []

    @property
    def holds(self) -> bool:
        return any(name == "strict" for _, name in self.client.machine.held)

    def _count(self, wanted: set[str] | None):
        stats = message("envoy.config.endpoint.v3.ClusterStats")(cluster_name="cache", cluster_service_name="cache")
        traffic = stats.upstream_locality_stats.add(total_issued_requests=50, total_error_requests=10 if self.holds else 0)
        traffic.load_metric_stats.add(
            metric_name="errors.backend", num_requests_finished_with_metric=10 * self.holds, total_metric_value=10 * self.holds
        )
        return [stats]


async def test_less_than_a_tenth_of_many_have_had_what_raises_errors(control, backend) -> None:
    plane = await asyncio.to_thread(control)
    await asyncio.to_thread(plane.apply, CACHE.format(backend=backend.address))
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(Shop(plane.grpc, f"shop-{number}", "canary" if number == 7 else "rest")) for number in range(40)]
        await asyncio.to_thread(until_true, "all are there", lambda: len(plane.get("/v1/status").json()["sidecars"]) == len(many))
        for first in ("5%", "label:tier=canary"):
            await asyncio.to_thread(rollout, plane, DENY, first, "50%", "100%")
            found = await asyncio.to_thread(ended, plane)
            assert (found["phase"], found["step"]) == ("taken back", 0)
            assert "Listener cache: errors are 20.0 % of the requests where it is tried, 0.0 % elsewhere (backend" in found["reason"]
            assert 1 <= sum(one.ever_held for one in many) < 4
        await asyncio.to_thread(until_true, "nobody has it", lambda: not any(one.holds for one in many))
        assert many[7].ever_held
        # Without gates nobody looks.
        await asyncio.to_thread(rollout, plane, DENY, "5%", "100%", gates=None)
        assert (await asyncio.to_thread(ended, plane))["phase"] == "done"
        await asyncio.to_thread(until_true, "all have it", lambda: all(one.holds for one in many))
