"""What tests of stores share: empty stores, and what is put into them."""

import uuid
from collections.abc import Callable

import asyncpg

from mesh_core.lab import Etcd, Postgres
from xds.store.base import Entry, Store

Open = Callable[..., Store]


async def empty(postgres: Postgres) -> str:
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("DROP SCHEMA IF EXISTS midstream CASCADE")
    await connection.close()
    return postgres.dsn()


def prefixed(etcd: Etcd) -> str:
    return f"etcd://{etcd.address}/tests/{uuid.uuid4().hex}"


def entry(name: str, value: str = "1") -> Entry:
    return Entry("Listener", name, {"spec": value}, "shop.yaml", {"spec": 3})


async def put(store: Store, *entries: Entry, expected: int, deletes=()) -> int:
    return await store.write(entries, deletes, expected=expected, author="ada", reason="because")
