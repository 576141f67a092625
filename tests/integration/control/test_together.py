"""Changes that must not be mixed: all sidecars can make them, or nobody does; and then all at once."""

import asyncio
from collections.abc import Iterator

import pytest
import redis

from mesh_core.compile.types import SIDECAR_TYPES
from mesh_core.lab import RedisServer
from mesh_core.lab.wait import until_true
from tests.conftest import start
from tests.integration.control.simulated import Simulated
from tests.integration.process import Sidecar
from xds.client.ads import AdsClient
from xds.protocol.client import Update
from xds.protocol.prepared import NAME, PREPARED, place
from xds.protocol.report import Refused

BACKENDS = """\
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: {name}}}
spec: {{mode: single, nodes: ["{address}"]}}
---
"""
LISTENER = """\
apiVersion: midstream/v1
kind: Listener
metadata: {name: cache}
spec: {address: "127.0.0.1:0", protocol: redis, backend: one}
---
"""
ROUTES = """\
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {{name: split}}
spec: {{listeners: [cache], routes: [{{prefix: "a:", backend: {a}}}, {{prefix: "b:", backend: {b}}}]}}
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    found = [start(lambda: RedisServer().start()) for _ in range(2)]
    yield found
    for server in found:
        server.kill()


@pytest.fixture
def plane(control, servers):
    found = control()
    text = "".join(BACKENDS.format(name=name, address=server.address) for name, server in zip(("one", "two"), servers, strict=True))
    applied = found.apply(text + LISTENER + ROUTES.format(a="one", b="two"))
    assert applied.returncode == 0, applied.stderr
    return found


class Peer(Simulated):
    """One that says of a preparation what it is told to."""

    def __init__(self, address: str, node: str):
        self.answer: asyncio.Queue[str] = asyncio.Queue()
        self.asked = asyncio.Event()
        self.client = AdsClient([address], node, SIDECAR_TYPES, self._on_update)

    async def _on_update(self, update: Update) -> list[Refused]:
        found = update.changed.get((PREPARED, NAME))
        if found is None:
            return []
        self.asked.set()
        reason = await self.answer.get()
        return [Refused(PREPARED, NAME, found.version, place(0, "routes[1].prefix"), reason)] if reason else []

    @property
    def is_prepared(self) -> bool:
        return (PREPARED, NAME) in self.client.machine.held

    @property
    def routes(self) -> bytes:
        return next((held.value for (url, _), held in self.client.machine.held.items() if url.endswith("RedisRoutes")), b"")


def client_of(sidecar: Sidecar) -> redis.Redis:
    host, port = sidecar.get("/config").json()["listeners"][0]["address"].split(":")
    return redis.Redis(host=host, port=int(port), decode_responses=True)


def stored(plane) -> dict:
    return plane.get("/v1/objects?kind=RedisRoutes").json()


def swap(plane, **more):
    return plane.post("/v1/apply", {"sources": [{"file": "routes.yaml", "text": ROUTES.format(a="two", b="one")}]} | more)


async def test_nobody_has_it_before_all_can_and_then_all_have_it(plane, sidecar, servers) -> None:
    real = [await asyncio.to_thread(sidecar, control=plane.grpc, node=f"shop-{number}") for number in range(2)]
    clients = [client_of(one) for one in real]
    one, two = (redis.Redis(port=server.port, decode_responses=True) for server in servers)
    async with Peer(plane.grpc, "slow") as slow:
        await asyncio.to_thread(until_true, "all are there", lambda: slow.routes)
        before = slow.routes
        applying = asyncio.create_task(asyncio.to_thread(swap, plane, prepareSeconds=600))
        await slow.asked.wait()
        # The others have it prepared, and go on with what they have; so does whoever joins now.
        joined = await asyncio.to_thread(sidecar, control=plane.grpc, node="late")
        clients.append(client_of(joined))
        for number, client in enumerate(clients):
            client.set(f"a:{number}", "before")
        assert one.get("a:0") == one.get("a:1") == one.get("a:2") == "before"
        assert stored(plane)["revision"] == 1
        assert not applying.done()
        slow.answer.put_nowait("")
        assert (await applying).status_code == 200
        await asyncio.to_thread(until_true, "it has the new and nothing prepared", lambda: slow.routes != before and not slow.is_prepared)
        until = asyncio.to_thread(until_true, "all have it", lambda: plane.run("status", "--check").returncode == 0)
        await until
        for number, client in enumerate(clients):
            client.set(f"a:{number}", "after")
        assert two.get("a:0") == two.get("a:1") == two.get("a:2") == "after"
        assert one.get("a:0") == "before"


async def test_who_does_not_answer_stops_it_for_all(plane, sidecar) -> None:
    await asyncio.to_thread(sidecar, control=plane.grpc, node="shop-1")
    async with Peer(plane.grpc, "slow") as slow:
        await asyncio.to_thread(until_true, "it is there", lambda: slow.routes)
        before = slow.routes
        answer = await asyncio.to_thread(swap, plane, prepareSeconds=1)
        assert answer.status_code == 409
        assert answer.json()["error"] == "slow did not say within 1 s that it can make this change; nothing was changed"
        assert stored(plane)["revision"] == 1
        slow.answer.put_nowait("")
        await asyncio.to_thread(until_true, "it is taken back", lambda: not slow.is_prepared)
        assert slow.routes == before
    # It is gone for good, and the next attempt does not wait for it.
    assert (await asyncio.to_thread(swap, plane)).status_code == 200


async def test_who_refuses_it_stops_it_for_all_and_is_heard(plane, sidecar) -> None:
    await asyncio.to_thread(sidecar, control=plane.grpc, node="shop-1")
    async with Peer(plane.grpc, "odd") as odd:
        await asyncio.to_thread(until_true, "it is there", lambda: odd.routes)
        odd.answer.put_nowait("no such luck")
        answer = await asyncio.to_thread(swap, plane)
        assert answer.status_code == 422
        problem = answer.json()["problems"][0]
        assert (problem["file"], problem["line"], problem["kind"], problem["path"]) == ("routes.yaml", 4, "RedisRoutes", "spec.routes[1].prefix")
        assert problem["reason"] == "odd cannot make this change: no such luck"
        assert stored(plane)["revision"] == 1


def test_a_real_sidecar_looks_for_itself(plane, sidecar) -> None:
    """What the control plane cannot know: the secret is not there."""
    sidecar(control=plane.grpc, node="shop-1")
    text = (
        BACKENDS.format(name="three", address="127.0.0.1:9").replace("]}", "], credentials: {user: app, passwordFrom: {env: NO_SUCH_VARIABLE}}}")
    ) + ROUTES.format(a="three", b="one")
    refused = plane.apply(text)
    assert refused.returncode == 2, refused.stdout
    assert "shop.yaml:4: RedisCluster three: spec.credentials.passwordFrom: shop-1 cannot make this change: " in refused.stderr
    assert stored(plane)["revision"] == 1


def test_it_is_not_tried_on_some(plane) -> None:
    (plane.folder / "shop.yaml").write_text(ROUTES.format(a="two", b="one"))
    refused = plane.run("apply", "-f", str(plane.folder / "shop.yaml"), "--canary", "10%")
    assert "must not serve at the same time" in refused.stderr
