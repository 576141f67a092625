"""TPC-H over four shards: every query has the answer of one server. TPCH_ORDERS=15000 is scale 0.01; fewer in CI."""

import os
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.planner.sharded import ENVIRONMENT, objects
from tests.integration.process import Sidecar
from tests.integration.tpch.queries import QUERIES
from tests.integration.tpch.schema import KEYS, SCHEMA, Row, tables

ORDERS = int(os.environ.get("TPCH_ORDERS", "1500"))
SHARDS = 4
COLOCATED = {"lineitem": "orders", "partsupp": "part"}


@pytest.fixture(scope="module")
async def connections(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[asyncpg.Connection]]:
    """To the sidecar before four servers, and to one server with the same rows."""
    names = [*(f"tpch{number}" for number in range(SHARDS)), "whole"]
    servers = [start(lambda name=name: Postgres(name, database="shop", auth="trust", distribution=True).start()) for name in names]
    folder: Path = tmp_path_factory.mktemp("tpch")
    port = ports.free()
    rows = tables(random.Random(1), ORDERS)
    bounds = {name: _bounds(rows[COLOCATED.get(name, name)]) for name, key in KEYS.items() if key}
    sidecar = Sidecar(objects(servers[:SHARDS], [_rule(name, bounds) for name in KEYS], port), folder / "sidecar", env=ENVIRONMENT)
    try:
        for shard, server in enumerate(servers):
            await _load(server, rows, {} if server is servers[-1] else bounds, shard)
        sidecar.start()
        mesh = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="shop")
        yield [mesh, await servers[-1].connect()]
        await mesh.close()
    finally:
        sidecar.stop()
        for server in servers:
            server.kill()


def _bounds(rows: list[Row]) -> list[int]:
    """The first keys of the shards behind the first one."""
    return [len(rows) * shard // SHARDS + 1 for shard in range(1, SHARDS)]


def _rule(name: str, bounds: dict[str, list[int]]) -> str:
    if name not in bounds:
        return f"{{name: {name}, reference: true}}"
    if name in COLOCATED:
        return f"{{name: {name}, key: {KEYS[name]}, colocate: {COLOCATED[name]}}}"
    edges = ["", *map(str, bounds[name]), ""]
    spans = [
        ", ".join([*([f"from: {low}"] if low else []), *([f"to: {high}"] if high else []), f"shard: s{shard}"])
        for shard, (low, high) in enumerate(pairwise(edges))
    ]
    return f"{{name: {name}, key: {KEYS[name]}, method: range, ranges: [{', '.join('{' + span + '}' for span in spans)}]}}"


async def _load(server: Postgres, rows: dict[str, list[Row]], bounds: dict[str, list[int]], shard: int) -> None:
    connection = await server.connect()
    await connection.execute(SCHEMA)
    for name, own in rows.items():
        edges = bounds.get(name)
        part = own if edges is None else [row for row in own if sum(int(str(row[0])) >= edge for edge in edges) == shard]
        await connection.execute(f"create temporary table incoming_{name} (like {name})")
        await connection.execute(f"alter table incoming_{name} " + ", ".join(f"alter {one} type text" for one in await _columns(connection, name)))
        await connection.copy_records_to_table(f"incoming_{name}", records=[tuple(map(str, row)) for row in part])
        casts = ", ".join(f"{one}::{kind}" for one, kind in (await _columns(connection, name)).items())
        await connection.execute(f"insert into {name} select {casts} from incoming_{name}")
    await connection.execute("analyze")
    await connection.close()


async def _columns(connection: asyncpg.Connection, table: str) -> dict[str, str]:
    found = await connection.fetch(
        "select attname::text, format_type(atttypid, atttypmod) as kind from pg_attribute "
        "where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum",
        table,
    )
    return {row["attname"]: row["kind"] for row in found}


@pytest.mark.parametrize("number", QUERIES)
async def test_a_query_has_the_answer_of_one_server(connections: list[asyncpg.Connection], number: int) -> None:
    mesh, whole = connections
    expected = await whole.fetch(QUERIES[number])
    assert expected, "the rows are such that every query finds some"
    assert await mesh.fetch(QUERIES[number]) == expected
