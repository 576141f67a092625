"""The same data on two shards behind a sidecar and on one server."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.planner.queries import SCHEMA, rows
from tests.integration.process import Sidecar

OBJECTS = """
apiVersion: midstream/v1
kind: Database
metadata: {{name: shop}}
spec:
  engine: postgres
  credentials: {{user: postgres, passwordFrom: {{env: PLANNER_PASSWORD}}}}
  pool: {{mode: transaction, size: 4}}
  shards:
    - {{name: s0, primary: "{s0}/shop"}}
    - {{name: s1, primary: "{s1}/shop"}}
---
apiVersion: midstream/v1
kind: Sharding
metadata: {{name: shop}}
spec:
  database: shop
  home: s0
  tables:
    - {{name: orders, key: customer_id, method: hash}}
    - {{name: order_lines, key: customer_id, colocate: orders}}
    - {{name: countries, reference: true}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: shop}}
spec: {{address: "127.0.0.1:{port}", protocol: postgres, backend: shop}}
"""
REFERENCE = "insert into countries values ('de', 'Germany'), ('fr', 'France'), ('a', null)"
SEED = 20261124


@dataclass
class World:
    mesh: int  # port
    whole: Postgres
    shards: list[Postgres]
    sidecar: Sidecar


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Orders and lines written through the sidecar, and the same statements on one server."""
    servers = [start(lambda name=name: Postgres(name, database="shop", auth="trust").start()) for name in ("planner0", "planner1", "whole")]
    port = ports.free()
    objects = OBJECTS.format(s0=servers[0].address, s1=servers[1].address, port=port)
    folder: Path = tmp_path_factory.mktemp("planner")
    sidecar = Sidecar(objects, folder / "sidecar", env={"PLANNER_PASSWORD": "any"})
    try:
        for server in servers:
            connection = await server.connect()
            await connection.execute(SCHEMA)
            await connection.execute(REFERENCE)
            await connection.close()
        sidecar.start()
        await _fill(servers[2], port)
        yield World(port, servers[2], servers[:2], sidecar)
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
