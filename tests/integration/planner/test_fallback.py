"""Statements whose rows are gathered on the home shard: what they leave behind, and how they end early."""

import asyncio

import asyncpg
import pytest

from tests.integration.planner.conftest import World

GATHERED = "select avg(o.qty), count(distinct o.note) from orders o"
TEMPORARY = "select count(*) from pg_class where relpersistence = 't'"


@pytest.fixture
async def mesh(world: World):
    connection = await asyncpg.connect(host="127.0.0.1", port=world.mesh, user="postgres", database="shop")
    yield connection
    await connection.close()


async def left_behind(world: World) -> int:
    """Temporary relations on the shards' servers, of whatever session."""
    return sum([(await shard.fetch(TEMPORARY))[0][0] for shard in world.shards])


async def test_nothing_is_left_of_it(world: World, mesh: asyncpg.Connection) -> None:
    whole = await world.whole.connect()
    assert list(await mesh.fetch(GATHERED)) == list(await whole.fetch(GATHERED))
    await whole.close()
    # The next statement of the same client has to wait for the ROLLBACK of the one connection it may get.
    await mesh.fetch("select 1")
    assert await left_behind(world) == 0


async def test_a_failed_statement_says_so_and_the_session_goes_on(world: World, mesh: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await mesh.fetch("select avg(o.qty) / 0 from orders o")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await mesh.fetch("select avg(o.nothing) from orders o")
    assert (await mesh.fetch("select avg(o.id) > 0 from orders o"))[0][0]
    assert await left_behind(world) == 0


async def test_a_cancelled_statement_ends(world: World, mesh: asyncpg.Connection) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await mesh.fetch(f"{GATHERED}, pg_sleep(60)", timeout=1)
    assert await mesh.fetch("select 1")
    assert await left_behind(world) == 0


async def test_what_a_copy_cannot_give_is_refused(mesh: asyncpg.Connection) -> None:
    for sql in ("select ctid, avg(qty) from orders group by 1", "select count(distinct o) from orders o", "select avg(qty) from only orders"):
        with pytest.raises(asyncpg.FeatureNotSupportedError) as refused:
            await mesh.fetch(sql)
        assert refused.value.hint, sql


async def test_rows_may_come_without_order_from_each_shard_at_once(world: World, mesh: asyncpg.Connection) -> None:
    """Two tables, gathered one after the other, while both shards send both."""
    sql = "select o.id, l.sku from orders o left join order_lines l on l.order_id = o.id + $1 order by 1, 2"
    whole = await world.whole.connect()
    for number in (0, 1):
        assert list(await mesh.fetch(sql, number)) == list(await whole.fetch(sql, number))
    await whole.close()
