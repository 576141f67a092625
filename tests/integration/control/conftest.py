"""A control plane as a process of its own, and every kind of store."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mesh_core.lab import Etcd
from tests.conftest import start
from tests.integration.control.plane import ControlPlane
from tests.integration.control.stores import Open, empty, prefixed
from xds.store.base import Store
from xds.store.etcd import EtcdStore
from xds.store.postgres import PostgresStore
from xds.store.sqlite import SqliteStore


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """`control(*options)` starts one; all are killed after the test."""
    running: list[ControlPlane] = []

    def start(*options: str) -> ControlPlane:
        one = ControlPlane(tmp_path / f"control{len(running)}", *options)
        running.append(one)
        return one.start()

    yield start
    for one in running:
        one.kill()


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    server = start(lambda: Etcd().start())
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "postgres", "etcd"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """`opened()` is one more handle on the same store, as another process has it."""
    handles: list[Store] = []
    kinds: dict[str, tuple[type, object]] = {"sqlite": (SqliteStore, tmp_path / "folder" / "control.db")}
    if request.param == "postgres":
        kinds["postgres"] = (PostgresStore, await empty(request.getfixturevalue("postgres_shards")[0]))
    elif request.param == "etcd":
        kinds["etcd"] = (EtcdStore, prefixed(request.getfixturevalue("etcd")))

    def make(**options: int) -> Store:
        kind, where = kinds[request.param]
        handles.append(kind(where, **options))
        return handles[-1]

    yield make
    for handle in handles:
        await handle.close()
