"""Prepared statements and DDL: the same work direct and through the mesh, and what each client saw compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import Postgres
from tests.integration.postgres.conftest import Mesh

Connect = Callable[[], Awaitable[asyncpg.Connection]]
Play = Callable[["Scene"], Awaitable[list[Any]]]
POOL = 4


class Scene:
    """Clients of one way to the server, and an administrator who always goes there directly."""

    def __init__(self, connect: Connect, server: Postgres) -> None:
        self._connect = connect
        self._server = server
        self._clients: list[asyncpg.Connection] = []

    async def client(self) -> asyncpg.Connection:
        client = await self._connect()
        self._clients.append(client)
        return client

    async def elsewhere(self, statement: str) -> None:
        """Somebody whom the mesh does not see."""
        administrator = await self._server.connect(user="app")
        await administrator.execute(statement)
        await administrator.close()

    @asynccontextmanager
    async def others_busy(self, count: int) -> AsyncIterator[None]:
        """`count` clients each hold a server connection: through the mesh the next statement runs on yet another one."""
        holders = [await self.client() for _ in range(count)]
        for holder in holders:
            await holder.execute("begin")
        yield
        for holder in holders:
            await holder.execute("rollback")

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


async def outcome(work: Awaitable[Any]) -> Any:
    """The value, or the error as a client sees it."""
    try:
        return await work
    except asyncpg.PostgresError as error:
        return (type(error).__name__, error.sqlstate, str(error))


async def kept_after_a_change_elsewhere(scene: Scene) -> list[Any]:
    seen = []
    client = await scene.client()
    kept = await client.prepare("select v from stale")
    seen.append(await outcome(kept.fetchval()))
    await scene.elsewhere("alter table stale alter v type bigint")
    for busy in range(POOL):
        async with scene.others_busy(busy):
            seen.append(await outcome(kept.fetchval()))
    fresh = await client.prepare("select v from stale")
    seen.append(await outcome(fresh.fetchval()))
    return seen


async def prepared_on_every_connection(scene: Scene) -> list[Any]:
    """By clients of their own, before anything changes."""
    seen = []
    for busy in range(POOL):
        async with scene.others_busy(busy):
            early = await scene.client()
            seen.append(await outcome((await early.prepare("select v from stale")).fetchval()))
    return seen


async def prepared_after_a_change_elsewhere(scene: Scene) -> list[Any]:
    seen = await prepared_on_every_connection(scene)
    await scene.elsewhere("alter table stale alter v type bigint")
    late = await scene.client()
    fresh = await late.prepare("select v from stale")
    for busy in range(POOL):
        async with scene.others_busy(busy):
            seen.append(await outcome(fresh.fetchval()))
    return seen


async def prepared_in_a_transaction(scene: Scene) -> list[Any]:
    seen = await prepared_on_every_connection(scene)
    await scene.elsewhere("alter table stale alter v type bigint")
    late = await scene.client()
    for _ in range(2):
        async with late.transaction():
            seen.append(await outcome((await late.prepare("select v from stale")).fetchval()))
    return seen


async def kept_into_a_transaction(scene: Scene) -> list[Any]:
    seen = []
    client = await scene.client()
    kept = await client.prepare("select v from stale")
    seen.append(await outcome(kept.fetchval()))  # asyncpg ends the implicit transaction of its prepare here
    await scene.elsewhere("alter table stale alter v type bigint")
    async with scene.others_busy(2):
        await client.execute("begin")
        seen.append(await outcome(kept.fetchval()))
        seen.append(await outcome(client.fetchval("select 1")))
        await client.execute("rollback")
    return seen


async def a_change_of_ones_own_that_is_taken_back(scene: Scene) -> list[Any]:
    seen = []
    one, other = await scene.client(), await scene.client()
    kept = await other.prepare("select v from stale")
    seen.append(await outcome(kept.fetchval()))
    await one.execute("begin")
    await one.execute("alter table stale alter v type bigint")
    inside = await one.prepare("select v from stale")
    seen.append(await outcome(inside.fetchval()))
    await one.execute("rollback")
    seen.append(await outcome(kept.fetchval()))
    fresh = await one.prepare("select v from stale")
    seen.append(await outcome(fresh.fetchval()))
    return seen


async def a_table_that_is_gone(scene: Scene) -> list[Any]:
    seen = []
    client, late = await scene.client(), await scene.client()
    kept = await client.prepare("select v from stale")
    seen.append(await outcome(kept.fetchval()))
    await scene.elsewhere("drop table stale")
    seen.append(await outcome(kept.fetchval()))
    seen.append(await outcome(late.prepare("select v from stale")))
    await scene.elsewhere("create table stale (v text)")
    seen.append(await outcome(kept.fetchval()))
    return seen


async def the_same_text_under_another_search_path(scene: Scene) -> list[Any]:
    """Two tenants with the same table in schemas of their own, of different types."""
    await scene.elsewhere("create schema tenant; create table tenant.stale (v text); insert into tenant.stale values ('one')")
    seen = []
    here, there = await scene.client(), await scene.client()
    await there.execute("set search_path = tenant")
    first, second = await here.prepare("select v from stale"), await there.prepare("select v from stale")
    for _ in range(2):
        seen += [await outcome(first.fetchval()), await outcome(second.fetchval())]
    return seen


async def a_change_of_columns_under_a_star(scene: Scene) -> list[Any]:
    client = await scene.client()
    kept = await client.prepare("select * from stale")
    seen = [await outcome(kept.fetch())]
    other = await scene.client()
    await other.execute("alter table stale add w int")
    for busy in range(2):
        async with scene.others_busy(busy):
            seen.append(await outcome(kept.fetch()))
    seen.append(await outcome(other.fetch("select * from stale")))
    return [str(one) for one in seen]


PLAYS: list[Play] = [
    kept_after_a_change_elsewhere,
    prepared_after_a_change_elsewhere,
    prepared_in_a_transaction,
    kept_into_a_transaction,
    a_change_of_ones_own_that_is_taken_back,
    a_table_that_is_gone,
    the_same_text_under_another_search_path,
    a_change_of_columns_under_a_star,
]


async def perform(play: Play, connect: Connect, server: Postgres) -> list[Any]:
    scene = Scene(connect, server)
    await scene.elsewhere("drop schema if exists tenant cascade; drop table if exists stale; create table stale (v int)")
    await scene.elsewhere("insert into stale values (7)")
    try:
        return await play(scene)
    finally:
        await scene.close()


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_ddl(play: Play, one: Mesh) -> None:
    server = one.servers[0]
    server.sql("grant create on database shop to app")

    async def both() -> tuple[list[Any], list[Any]]:
        through = await perform(play, lambda: one.connect(password="app-password"), server)
        direct = await perform(play, lambda: server.connect(user="app"), server)
        return through, direct

    through, direct = asyncio.run(both())
    assert through == direct
