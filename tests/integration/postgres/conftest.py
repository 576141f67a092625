"""A sidecar before real PostgreSQL servers, and ordinary clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports
from tests.integration.process import Sidecar

ENVIRONMENT = {"SHOP_PASSWORD": "app-password", "ANN_PASSWORD": "ann-secret"}


@dataclass
class Mesh:
    """A running sidecar and the servers behind it."""

    sidecar: Sidecar
    port: int
    servers: list[Postgres]

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """An ordinary client of the sidecar."""
        return await asyncpg.connect(host="127.0.0.1", port=self.port, **{"user": "app", "database": "shop", "ssl": False, **options})

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[Any]], **options: Any) -> Any:
        """Runs `work` on one client connection."""

        async def main() -> Any:
            connection = await self.connect(**options)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(main())


def objects(
    servers: list[Postgres],
    port: int,
    *,
    size: int = 4,
    mode: str = "transaction",
    pool: str = "",
    listener: str = "",
    more: str = "",
    database: str = "",
) -> str:
    """A Database over the servers and its Listener; further fields of their specs, further documents."""
    shards = "\n".join(f'    - {{name: s{n}, primary: "127.0.0.1:{server.port}/shop"}}' for n, server in enumerate(servers))
    return f"""
apiVersion: midstream/v1
kind: Database
metadata: {{name: shop}}
spec:
  engine: postgres
  credentials: {{user: app, passwordFrom: {{env: SHOP_PASSWORD}}}}
  pool: {{mode: {mode}, size: {size}{pool}}}
{database}
  shards:
{shards}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: shop}}
spec: {{address: "127.0.0.1:{port}", protocol: postgres, backend: shop{listener}}}
{more}"""


SHARDING = """
---
apiVersion: midstream/v1
kind: Sharding
metadata: {name: shop}
spec:
  database: shop
  home: s0
  tables:
    - {name: orders, key: customer_id, method: hash}
"""


@pytest.fixture
def mesh(sidecar: Callable[..., Sidecar]) -> Callable[..., Mesh]:
    """``mesh(servers, **fields)`` starts a sidecar before them."""

    def start(servers: list[Postgres], **fields: Any) -> Mesh:
        port = ports.free()
        running = sidecar(objects(servers, port, **fields), env=ENVIRONMENT)
        return Mesh(running, port, servers)

    return start


@pytest.fixture
def one(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> Mesh:
    """A sidecar before one server, with four connections to it."""
    return mesh(postgres_shards[:1])


@pytest.fixture
def shards(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> Iterator[Mesh]:
    """A sidecar before three shards; the table orders, empty, lies on all of them by customer_id."""
    for server in postgres_shards:
        server.sql("drop table if exists orders")
        server.sql("create table orders (id int, customer_id bigint, total numeric(10, 2), note text)")
        server.sql("alter table orders owner to app")
    yield mesh(postgres_shards, more=SHARDING)
    for server in postgres_shards:
        server.sql("drop table orders")
