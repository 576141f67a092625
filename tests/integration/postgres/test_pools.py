"""Pools: what is opened ahead, how many there are at most, who comes first, and what nobody notices."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports, wait
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.process import Sidecar

Start = Callable[..., Mesh]
PIDS = "select pid from pg_stat_activity where usename = 'app' and datname = 'shop'"


@pytest.fixture
def server(postgres_shards: list[Postgres]) -> Postgres:
    """One whose connections are all ours: those of the test before have ended."""
    server = postgres_shards[0]
    wait.until_true("nobody is connected", lambda: not pids(server))
    return server


def pids(server: Postgres) -> set[int]:
    return {row["pid"] for row in server.sql(PIDS)}


async def pid(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("select pg_backend_pid()")


def test_the_minimum_is_there_before_a_client_and_is_replaced(mesh: Start, server: Postgres) -> None:
    one = mesh([server], pool=", minimum: 3")
    wait.until_true("three connections", lambda: len(pids(server)) == 3)
    before = pids(server)
    assert one.run(pid) in before
    server.sql(f"select pg_terminate_backend(pid) from ({PIDS}) as connections")
    wait.until_true("three others", lambda: len(pids(server) - before) == 3)
    assert one.run(pid) in pids(server)


def test_the_reserve_is_opened_for_who_has_waited_and_closed_again(mesh: Start, server: Postgres) -> None:
    one = mesh([server], size=1, pool=", reserve: 1, reserveTimeout: 100ms")

    async def main() -> None:
        holder, waiter, last = [await one.connect() for _ in range(3)]
        async with holder.transaction():
            held = await pid(holder)
            async with waiter.transaction():
                assert await pid(waiter) != held
                waits = asyncio.create_task(pid(last))
                await asyncio.to_thread(wait.until_true, "the last one waits", lambda: one.sidecar.metric("midstream_pool_waiting") == 1)
                assert len(await asyncio.to_thread(pids, server)) == 2, "there is no second reserve"
            await waits
        await asyncio.to_thread(wait.until_true, "the reserve is closed", lambda: len(pids(server)) == 1)
        for client in (holder, waiter, last):
            await client.close()

    asyncio.run(main())


def test_who_waits_longest_is_served_first(mesh: Start, server: Postgres) -> None:
    server.sql("create sequence if not exists turns owned by none")
    server.sql("alter sequence turns owner to app")
    server.sql("alter sequence turns restart")
    one = mesh([server], size=1)

    async def main() -> list[int]:
        holder, *others = [await one.connect() for _ in range(21)]
        tasks = []
        async with holder.transaction():
            await pid(holder)
            for n, other in enumerate(others):
                tasks.append(asyncio.create_task(other.fetchval("select nextval('turns')")))
                is_queued = lambda n=n: one.sidecar.metric("midstream_pool_waiting") == n + 1  # noqa: E731
                await asyncio.to_thread(wait.until_true, "it waits", is_queued)
        turns = await asyncio.gather(*tasks)
        for client in (holder, *others):
            await client.close()
        return turns

    assert asyncio.run(main()) == list(range(1, 21))


def test_clients_of_a_database_are_limited_over_all_workers(sidecar: Callable[..., Sidecar], server: Postgres) -> None:
    port = ports.free()
    one = Mesh(sidecar(objects([server], port, pool=", maxClients: 5"), env=ENVIRONMENT, workers=3), port, [server])

    async def main() -> None:
        clients = [await one.connect() for _ in range(5)]
        with pytest.raises(asyncpg.TooManyConnectionsError, match="too many connections for Database shop"):
            await one.connect()
        assert [await client.fetchval("select 1") for client in clients] == [1] * 5
        await clients.pop().close()
        # The place is free when the sidecar has seen the end of the connection.
        while len(clients) < 5:
            try:
                clients.append(await one.connect())
            except asyncpg.TooManyConnectionsError:
                continue
        for client in clients:
            await client.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_user_has_a_pool_of_its_own(mesh: Start, server: Postgres) -> None:
    users = "  users: [{name: reports, pool: {mode: session, size: 1, maxClients: 1}}]"
    one = mesh([server], size=2, database=users)

    async def main() -> None:
        reports, app = await one.connect(user="reports"), await one.connect()
        await reports.execute("set work_mem = '123kB'")
        mine = {await pid(reports) for _ in range(5)}
        assert len(mine) == 1, "session mode"
        assert await pid(app) not in mine
        with pytest.raises(asyncpg.TooManyConnectionsError, match='user "reports" of Database shop'):
            await one.connect(user="reports")
        assert await reports.fetchval("show work_mem") == "123kB"
        await reports.close()
        await app.close()

    asyncio.run(main())


def test_an_idle_connection_that_the_server_ends_is_never_given_to_a_client(mesh: Start, server: Postgres) -> None:
    one = mesh([server], size=2)

    async def main() -> None:
        client = await one.connect()
        for _ in range(5):
            before = await pid(client)
            await server.fetch("select pg_terminate_backend($1)", before)
            await asyncio.to_thread(wait.until_true, "it is gone", lambda before=before: before not in pids(server))
            assert await pid(client) != before
        await client.close()

    asyncio.run(main())


def test_an_old_connection_is_replaced_between_two_transactions(mesh: Start, server: Postgres) -> None:
    one = mesh([server], size=1, pool=", maxLifetime: 1s")

    async def main() -> None:
        client = await one.connect()
        async with client.transaction():
            first = await pid(client)
            await client.fetch("select pg_sleep(1.5)")
            assert await pid(client) == first, "never inside of one"
        assert await pid(client) != first
        await client.close()

    asyncio.run(main())
