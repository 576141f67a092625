"""Envoy and gRPC's own xDS client, on our server."""

import sys
import time
from pathlib import Path

import pytest
import redis.asyncio as redis

from mesh_core.lab import RedisServer, ports
from tests.conformance.xds.clients import envoy_binary, envoy_bootstrap, process, resolve_and_reroute
from tests.conformance.xds.world import WITHIN_S, Server, cluster, endpoints, redis_listener
from tests.conftest import start

BOTH = pytest.mark.parametrize("variant", ["sotw", "delta"])


@pytest.fixture(scope="module")
def two_redis():
    servers = [start(lambda: RedisServer().start()) for _ in range(2)]
    for name, server in zip(("one", "two"), servers, strict=True):
        server.command("SET", "who", name)
    yield servers
    for server in servers:
        server.kill()


async def who(port: int) -> str:
    async with redis.Redis(port=port, decode_responses=True) as client:
        return await client.get("who")


@BOTH
async def test_envoy_serves_redis_and_follows_every_change(variant: str, two_redis: list[RedisServer], tmp_path: Path) -> None:
    binary = start(envoy_binary)
    one, two = (server.port for server in two_redis)
    port, node = ports.free(), f"envoy-{variant}"
    async with Server() as control:
        control.hub.publish([cluster("a"), endpoints("a", one), redis_listener("cache", port, "a")])
        bootstrap = tmp_path / "envoy.json"
        bootstrap.write_text(envoy_bootstrap(node, control.port, variant))
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        async with process(binary, "-c", str(bootstrap), *options):
            await control.settled(node, "Cluster a", "ClusterLoadAssignment a", "Listener cache")
            assert await who(port) == "one"

            # Another cluster, and the listener to it: made before the old one is broken, so that no request fails meanwhile.
            control.hub.publish([cluster("b"), endpoints("b", two), redis_listener("cache", port, "b")])
            await control.settled(node, "Cluster b", "ClusterLoadAssignment b", "Listener cache")
            await until(port, "two")

            # Its endpoints only.
            control.hub.publish([cluster("b"), endpoints("b", one), redis_listener("cache", port, "b")])
            await control.settled(node, "ClusterLoadAssignment b")
            await until(port, "one")

            # What Envoy refuses is known by its reason, and what was there goes on.
            bad = redis_listener("cache", port, "no such cluster")
            bad = type(bad)(bad.type_url, "cache", bad.value.replace(b"RedisProxy", b"NoSuchOne_"))
            control.hub.publish([cluster("b"), endpoints("b", one), bad])
            assert "cache" in await control.refused(node, "Listener cache")
            assert await who(port) == "one"


async def until(port: int, name: str) -> None:
    """What was acknowledged is in force a moment later."""
    deadline = time.monotonic() + WITHIN_S
    while (answered := await who(port)) != name:
        assert time.monotonic() < deadline, f"after {WITHIN_S} s still {answered}"


async def test_grpc_python_resolves_and_reroutes() -> None:
    await resolve_and_reroute("grpc-python", sys.executable, "-m", "tests.conformance.xds.grpc_python")
