"""50 bad resources among 1,000: the 50 are blamed, each with its line, and the 950 are in force; whoever the client is."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path

import pytest

from mesh_core.lab.wait import until_true
from tests.conformance.xds.clients import envoy_binary, envoy_bootstrap, process
from tests.conformance.xds.world import Server, cluster, endpoints
from tests.conftest import start
from tests.integration.control.objects import address, relay
from tests.integration.control.refusing import Refusing
from xds.messages import message, serialise
from xds.protocol.resource import Resource
from xds.protocol.types import CLUSTER
from xds.server.status import ResourceState, State, resource_states

RATE_LIMIT = "type.googleapis.com/midstream.policy.v1.RateLimit"


def rate_limits(names: Iterable[str], listener: str = "base") -> str:
    limit = """\
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {{name: {name}}}
spec: {{listeners: [{listener}], match: {{verbs: [{verb}]}}, limit: {{requests: 9, per: 1s}}}}

"""
    return "".join(limit.format(name=name, listener=listener, verb="GET") for name in names)


def named(count: int, bad: int) -> list[str]:
    """The bad ones are spread among the good ones."""
    return [f"bad-{number}" if number % (count // bad) == 7 % (count // bad) else f"good-{number}" for number in range(count)]


def states(plane, node: str) -> dict[str, dict]:
    return {item["name"]: item for item in plane.get(f"/v1/status?node={node}").json()["sidecars"][0]["objects"] if item["kind"] == "RateLimit"}


def counted(plane, node: str) -> dict[str, int]:
    found = [item["state"] for item in states(plane, node).values()]
    return {state: found.count(state) for state in set(found)}


def apply(plane, text: str) -> None:
    answer = plane.post("/v1/apply", {"sources": [{"file": "shop.yaml", "text": text}]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_a_client_that_refuses_whole_responses(control, variant: str) -> None:
    plane = await asyncio.to_thread(control)
    names = named(1000, 50)
    text = relay("base", address()) + rate_limits(names)
    async with Refusing(plane.grpc, RATE_LIMIT, variant) as client:
        await asyncio.to_thread(apply, plane, text)
        await asyncio.to_thread(until_true, "all is told apart", lambda: counted(plane, "foreign-1") == {"ACKED": 950, "NACKED": 50})
        assert client.held.keys() == {name for name in names if name.startswith("good")}
        shown = states(plane, "foreign-1")
        for name in (name for name in names if name.startswith("bad")):
            line = text[: text.index(f"{{name: {name}}}")].count("\n") + 1
            assert (shown[name]["state"], shown[name]["file"]) == ("NACKED", "shop.yaml")
            assert abs(shown[name]["line"] - line) <= 1, (shown[name], line)
            assert "something of it is wrong" in shown[name]["reason"]

        # Another of its kind is not given them, so it has nothing to refuse.
        async with Refusing(plane.grpc, RATE_LIMIT, variant, "foreign-2") as second:
            await asyncio.to_thread(until_true, "it has the others", lambda: len(second.held) == 950)
            assert second.refusals == 0
            assert counted(plane, "foreign-2") == {"ACKED": 950, "QUARANTINED": 50}
            assert states(plane, "foreign-2")["bad-7"]["reason"] == "foreign-1: something of it is wrong"

            # One object is mended: it is given again to both, the others stay where they are.
            await asyncio.to_thread(apply, plane, rate_limits(["bad-7"]).replace("GET", "mended"))
            await asyncio.to_thread(until_true, "both have it", lambda: "bad-7" in client.held and "bad-7" in second.held)
        assert counted(plane, "foreign-1") == {"ACKED": 951, "NACKED": 49}


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_several_that_refuse_it_at_once_end_with_the_same(control, variant: str) -> None:
    plane = await asyncio.to_thread(control)
    names = named(40, 4)
    await asyncio.to_thread(apply, plane, relay("base", address()) + rate_limits(["first"]))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Refusing(plane.grpc, RATE_LIMIT, variant, f"foreign-{number}")) for number in range(4)]
        await asyncio.to_thread(until_true, "all are there", lambda: all(client.held for client in clients))
        await asyncio.to_thread(apply, plane, rate_limits(names))
        good = {"first", *(name for name in names if name.startswith("good"))}
        await asyncio.to_thread(until_true, "all have what is good", lambda: all(client.held.keys() == good for client in clients))
        assert all(counted(plane, f"foreign-{number}")["ACKED"] == 37 for number in range(4))


async def test_what_was_good_before_stays_in_force_and_is_given_to_newcomers(control) -> None:
    plane = await asyncio.to_thread(control)
    await asyncio.to_thread(apply, plane, relay("base", address()) + rate_limits(["one", "bad"]).replace("GET", "mended"))
    async with Refusing(plane.grpc, RATE_LIMIT, "delta") as client:
        await asyncio.to_thread(until_true, "it has both", lambda: len(client.held) == 2)
        await asyncio.to_thread(apply, plane, rate_limits(["one", "bad"]))
        await asyncio.to_thread(until_true, "it is told apart", lambda: counted(plane, "foreign-1") == {"ACKED": 1, "NACKED": 1})
        async with Refusing(plane.grpc, RATE_LIMIT, "delta", "foreign-2") as second:
            await asyncio.to_thread(until_true, "it has both", lambda: len(second.held) == 2)
            assert (b"mended" in second.held["bad"], b"mended" in second.held["one"]) == (True, False)


BROKEN = """\
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: bad-{number}}}
spec: {{nodes: ["127.0.0.1:7001"], credentials: {{user: app, passwordFrom: {{env: NO_SUCH_VARIABLE}}}}}}
"""


def test_a_real_sidecar(control, sidecar) -> None:
    """Half are addresses in use on its machine, half name a secret that it does not have."""
    plane = control()
    with ExitStack() as stack:
        taken = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(25)]
        text = relay("base", address()) + rate_limits(f"good-{number}" for number in range(948))
        for number, one in enumerate(taken):
            text += "---\n" + relay("base", f"127.0.0.1:{one.getsockname()[1]}").partition("---\n")[2].replace("name: base", f"name: bad-{number}")
        text += "".join(BROKEN.format(number=number) for number in range(25, 50))
        apply(plane, text)
        sidecar(control=plane.grpc, node="shop-1")

        def objects() -> list[dict]:
            found = plane.get("/v1/status?node=shop-1").json()["sidecars"]
            return found[0]["objects"] if found else []

        until_true("it has answered", lambda: len(objects()) == 1000 and all(item["state"] in ("ACKED", "NACKED") for item in objects()))
        refused = {item["name"]: item for item in objects() if item["state"] == "NACKED"}
        assert refused.keys() == {f"bad-{number}" for number in range(50)}
        for number in range(50):
            shown = refused[f"bad-{number}"]
            blamed = ("Listener", "spec.address") if number < 25 else ("RedisCluster", "spec.credentials.passwordFrom")
            assert (shown["kind"], shown["field"]) == blamed
            assert text.splitlines()[shown["line"] - 1].startswith("spec: ")
            assert text.splitlines()[shown["line"] - 2] == f"metadata: {{name: bad-{number}}}"
        assert plane.run("status").stdout.count("NACKED") == 50


def broken_cluster(name: str, how: int) -> Resource:
    value = message("envoy.config.cluster.v3.Cluster").FromString(cluster(name).value)
    if how % 2:
        value.ClearField("eds_cluster_config")
    else:
        value.connect_timeout.Clear()
        value.connect_timeout.SetInParent()
    return Resource(CLUSTER, name, serialise(value))


async def test_envoy(tmp_path: Path) -> None:
    """Half break a constraint of the message, for which Envoy applies nothing of a response; half fail while they are applied."""
    binary = start(envoy_binary)
    names = named(1000, 50)
    bad = [name for name in names if name.startswith("bad")]
    clusters = [broken_cluster(name, bad.index(name)) if name in bad else cluster(name) for name in names]
    bootstrap = tmp_path / "envoy.json"
    async with Server() as control:
        bootstrap.write_text(envoy_bootstrap("envoy", control.port, "delta"))
        control.hub.publish([cluster("first"), endpoints("first", 9)])
        async with process(binary, "-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"):
            await control.settled("envoy", "Cluster first")
            control.hub.publish([cluster("first"), endpoints("first", 9), *clusters, *(endpoints(name, 9) for name in names)])
            node = control.hub.nodes["envoy"]

            def shown() -> list[ResourceState]:
                return [one for one in resource_states(control.hub, node) if one.type_url == CLUSTER]

            await control.until(lambda: Counter(one.state for one in shown()) == {State.ACKED: 951, State.NACKED: 50})
            found = {one.name: one for one in shown() if one.state is State.NACKED}
            assert found.keys() == set(bad)
            assert {one.field for name, one in found.items() if not bad.index(name) % 2} == {"connect_timeout"}
            assert all(name in one.reason for name, one in found.items() if bad.index(name) % 2)
            assert not any("debug" in one.reason for one in found.values())
