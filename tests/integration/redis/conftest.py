"""A sidecar before the shared cluster, and ordinary clients of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.conftest import start
from tests.integration.process import Sidecar

Client = Callable[..., redis.Redis]


def objects(nodes: list[str], port: int, listener: str = "", more: str = "", cluster: str = "") -> str:
    """A RedisCluster and its Listener; further fields of their specs, further documents."""
    return f"""
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: cache}}
spec: {{nodes: {nodes}, retryDeadline: 20s{cluster}}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "127.0.0.1:{port}", protocol: redis, backend: cache{listener}}}
{more}"""


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    """One server, for what it answers itself."""
    server = start(lambda: RedisServer().start())
    yield server
    server.kill()


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """A cluster of this test's own, to be broken."""
    cluster = start(lambda: RedisCluster().start())
    yield cluster
    cluster.kill()


@pytest.fixture
def mesh(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> Client:
    """``mesh(protocol=3)`` is a client of a sidecar before the shared cluster, which is empty."""
    port = ports.free()
    sidecar(objects(redis_cluster.addresses, port))
    connect(port).flushall()
    return lambda **options: connect(port, **options)


def connect(port: int, **options: Any) -> redis.Redis:
    """An ordinary client; retries of its own would hide ours."""
    return redis.Redis(port=port, decode_responses=True, socket_timeout=60, retry=None, **options)
