"""The same data on shards behind a sidecar and on one server."""

import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.planner.queries import SCHEMA, rows
from tests.integration.planner.sharded import ENVIRONMENT, objects
from tests.integration.process import Sidecar

TABLES = [
    "{name: orders, key: customer_id, method: hash}",
    "{name: order_lines, key: customer_id, colocate: orders}",
    "{name: countries, reference: true}",
]
REFERENCE = "insert into countries values ('de', 'Germany'), ('fr', 'France'), ('a', null)"
HOME = "insert into settings values ('de', '1'), ('B', '2'), ('nobody', null)"  # lies on s0 only
SEED = 20261124
SHARDS = int(os.environ.get("PLANNER_SHARDS", "2"))


@dataclass
class World:
    mesh: int  # port
    whole: Postgres
    shards: list[Postgres]
    sidecar: Sidecar


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Orders and lines written through the sidecar, and the same statements on one server."""
    names = [*(f"planner{number}" for number in range(SHARDS)), "whole"]
    servers = [start(lambda name=name: Postgres(name, database="shop", auth="trust", distribution=True).start()) for name in names]
    port = ports.free()
    folder: Path = tmp_path_factory.mktemp("planner")
    sidecar = Sidecar(objects(servers[:SHARDS], TABLES, port), folder / "sidecar", env=ENVIRONMENT)
    try:
        for server in servers:
            connection = await server.connect()
            await connection.execute(SCHEMA)
            await connection.execute(REFERENCE)
            if server in (servers[0], servers[-1]):
                await connection.execute(HOME)
            await connection.close()
        sidecar.start()
        await _fill(servers[-1], port)
        yield World(port, servers[-1], servers[:SHARDS], sidecar)
    finally:
        sidecar.stop()
        for server in servers:
            server.kill()


async def _fill(whole: Postgres, port: int) -> None:
    import asyncpg

    mesh = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="shop")
    one = await whole.connect()
    for statement in rows(random.Random(SEED)):
        await mesh.execute(statement)
        await one.execute(statement)
    await mesh.close()
    await one.close()
