"""Sharded tables: every statement on its shard, or on all with one answer, or refused with the rule's name."""

import asyncio

import asyncpg
import pytest

from tests.integration.postgres.conftest import Mesh

CUSTOMERS = range(1, 31)


async def fill(connection: asyncpg.Connection) -> None:
    for customer in CUSTOMERS:
        await connection.execute("insert into orders values ($1, $2, $3, $4)", customer, customer, customer * 10, f"n{customer}")


def test_rows_lie_apart_and_are_found(shards: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await fill(connection)
        for customer in CUSTOMERS:
            assert await connection.fetchval("select note from orders where customer_id = $1", customer) == f"n{customer}"
            row = await connection.execute(f"select note from orders where customer_id = {customer}")
            assert row == "SELECT 1"

    shards.run(work)
    counts = [server.sql("select count(*) as n from orders")[0]["n"] for server in shards.servers]
    assert sum(counts) == len(CUSTOMERS) and all(counts), counts


def test_answers_over_all_shards(shards: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await fill(connection)
        assert [row["id"] for row in await connection.fetch("select id from orders order by id desc limit 5")] == [30, 29, 28, 27, 26]
        assert [row["id"] for row in await connection.fetch("select id from orders order by id limit $1 offset $2", 3, 4)] == [5, 6, 7]
        total = await connection.fetchrow("select count(*) as n, sum(total) as s, min(id) as low, max(id) as high from orders")
        assert tuple(total) == (30, 4650, 1, 30)
        assert await connection.fetchval("select id from orders order by id") == 1
        assert sorted(row["id"] for row in await connection.fetch("select id from orders")) == list(CUSTOMERS)

    shards.run(work)


def test_a_transaction_lives_on_the_shard_of_its_first_statement(shards: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await fill(connection)
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="belongs to shard"):
            async with connection.transaction():
                for customer in CUSTOMERS:
                    await connection.execute("update orders set note = 'gone' where customer_id = $1", customer)
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="Sharding of orders"):
            await connection.execute("update orders set note = 'gone'")
        assert await connection.fetchval("select count(*) from orders where note = 'gone'") == 0
        async with connection.transaction():
            await connection.execute("update orders set note = 'kept' where customer_id = $1", 7)
        assert await connection.fetchval("select note from orders where customer_id = 7") == "kept"

    shards.run(work)


def test_many_clients_over_all_shards_at_once(shards: Mesh) -> None:
    async def client(n: int, connection: asyncpg.Connection) -> None:
        for turn in range(5):
            key = n * 100 + turn
            async with connection.transaction():
                await connection.execute("insert into orders values ($1, $2, 1, 'x')", key, key)
                assert await connection.fetchval("select count(*) from orders where customer_id = $1", key) == 1
            found = [row["id"] for row in await connection.fetch("select id from orders order by id")]
            assert found == sorted(found) and key in found

    async def main() -> int:
        connections = await asyncio.gather(*(shards.connect() for _ in range(20)))
        await asyncio.gather(*(client(n, connection) for n, connection in enumerate(connections)))
        count = await connections[0].fetchval("select count(*) from orders")
        await asyncio.gather(*(connection.close() for connection in connections))
        return count

    assert asyncio.run(main()) == 100
