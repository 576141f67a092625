"""READ ONLY transactions on replicas: as a whole, or not at all."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest

from tests.integration.postgres.conftest import Mesh
from tests.integration.postgres.test_reads import Split, served, settled, split

__all__ = ["split"]  # the fixture

SELECT = "select value from pairs where id = 99"
ISOLATIONS = ["read_committed", "repeatable_read"]


async def two_truths(split: Split, mesh: Mesh, count: int = 1) -> list[asyncpg.Connection]:
    """Clients that have not written; from now on the replica says 0 and the primary 1."""
    connections = [await settled(split, mesh) for _ in range(count)]
    await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
    await asyncio.to_thread(split.primary.sql, "update pairs set value = 1 where id = 99")
    return connections


def test_the_whole_transaction_reads_from_the_replica(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        (connection,) = await two_truths(split, mesh)
        for isolation in ISOLATIONS:
            async with connection.transaction(readonly=True, isolation=isolation):
                assert await connection.fetchval(SELECT) == 0
                async with connection.transaction():  # a savepoint
                    assert await connection.fetchval(SELECT) == 0
                assert await connection.fetchval("select count(*) from pairs where value = 0") == 100, "parsed in the transaction"
                began = await connection.fetchval("select now()")
                assert await connection.fetchval("select now()") == began
        async with connection.transaction(readonly=True, isolation="serializable"):
            assert await connection.fetchval(SELECT) == 1, "no standby has that"
        await connection.close()

    asyncio.run(main())


def test_psycopg_reads_from_the_replica(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        (connection,) = await two_truths(split, mesh)
        await connection.close()

    asyncio.run(main())
    words = f"host=127.0.0.1 port={mesh.port} user=app dbname=shop sslmode=disable"
    for isolation in (None, psycopg.IsolationLevel.REPEATABLE_READ):
        with psycopg.connect(words) as connection:
            connection.read_only = True
            connection.isolation_level = isolation
            assert connection.execute(SELECT).fetchone() == (0,)
            assert connection.execute("select value from pairs where id = %s", [99]).fetchone() == (0,)
            connection.rollback()
            assert connection.execute(SELECT).fetchone() == (0,)
    with psycopg.connect(words) as connection:
        assert connection.execute(SELECT).fetchone() == (1,), "BEGIN alone promises nothing"


def test_it_sees_what_its_session_wrote(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        (connection,) = await two_truths(split, mesh)
        await connection.execute("update pairs set value = 2 where id = 99")
        async with connection.transaction(readonly=True):
            assert await connection.fetchval(SELECT) == 2
        await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_resume()")
        await asyncio.to_thread(split.caught_up)
        before = served(mesh, "replica")
        while served(mesh, "replica") == before:
            async with connection.transaction(readonly=True):
                assert await connection.fetchval(SELECT) == 2
        await connection.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_a_replica_cannot_do_moves_it_to_the_primary(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")
    unlogged = "select n from unlogged"

    async def main() -> None:
        connection, other = await two_truths(split, mesh, 2)
        # Where it is the first statement nobody notices.
        for _ in range(3):
            async with connection.transaction(readonly=True):
                assert await connection.fetchval(unlogged) == 7
        # Behind another one the transaction fails as one that is to be run again, and then succeeds.
        with pytest.raises(asyncpg.SerializationError, match="runs on a replica"):
            async with other.transaction(readonly=True):
                assert await other.fetchval(SELECT) == 0
                await other.fetchval("select pg_advisory_xact_lock(1)")
        async with other.transaction(readonly=True):
            assert await other.fetchval(SELECT) == 1
            await other.fetchval("select pg_advisory_xact_lock(1)")
        assert await other.fetchval(SELECT) == 1
        await connection.close()
        await other.close()

    asyncio.run(main())


def test_writes_in_it_are_refused_as_ever(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        (connection,) = await two_truths(split, mesh)
        for error in (asyncpg.SerializationError, asyncpg.ReadOnlySQLTransactionError):
            with pytest.raises(error):
                async with connection.transaction(readonly=True):
                    await connection.fetchval(SELECT)
                    await connection.execute("update pairs set value = 5")
        assert await connection.fetchval("select max(value) from pairs") == 1
        await connection.close()

    asyncio.run(main())


def test_a_transaction_of_nothing_and_one_that_failed_before_it_began(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        connection = await mesh.connect(timeout=60)
        assert await connection.execute("begin read only") == "BEGIN"
        assert connection.is_in_transaction()
        assert await connection.execute("commit") == "COMMIT"
        await connection.execute("start transaction read only")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("selekt")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.fetchval("select 1")
        assert await connection.execute("commit") == "ROLLBACK"
        await connection.close()

    asyncio.run(main())
