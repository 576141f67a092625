"""Real servers for every test that asks for them, started once per session and shared.

On a developer's machine a test is skipped with the name of the missing package; with CI=true a missing server is a
failure. Tests that kill or reconfigure a server start their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

# Tests start processes while gRPC's threads run; its handlers in the child before exec have been seen to end it with SIGBUS.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from mesh_core.lab import Kafka, Missing, MockKafka, Postgres, RedisCluster, postgres

Server = TypeVar("Server")

SHARDS = 3


@pytest.fixture(scope="session")
def postgres_shards() -> Iterator[list[Postgres]]:
    """Three PostgreSQL servers s0, s1, s2 with an empty database `shop` and the user `app` (password `app-password`)."""
    servers = start(lambda: postgres.cluster(SHARDS, database="shop", users={"app": "app-password"}))
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters and three replicas."""
    cluster = start(lambda: RedisCluster().start())
    yield cluster
    cluster.kill()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real Kafka of one broker, with the SASL/PLAIN user `alice`."""
    broker = start(lambda: Kafka(users={"alice": "alice-password"}).start())
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def mock_kafka() -> Iterator[MockKafka]:
    """librdkafka's mock cluster of three brokers."""
    cluster = start(lambda: MockKafka().start())
    yield cluster
    cluster.kill()


def start(make: Callable[[], Server]) -> Server:
    """Starts a server for a fixture or a test; what is not installed is skipped, or fails in CI."""
    try:
        return make()
    except (Missing, ImportError) as missing:
        if os.environ.get("CI") == "true":
            raise
        name = missing.package if isinstance(missing, Missing) else missing.name
        pytest.skip(f"not installed: {name}")
