"""Many clients on few server connections see what one client on its own connection sees."""

import asyncio
import io

import asyncpg
import pytest

from tests.integration.postgres.conftest import Mesh


def test_statements_of_both_protocols_and_all_formats(one: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        assert await connection.execute("select 1; select 2") == "SELECT 1"
        row = await connection.fetchrow("select $1::int4 + 1 as a, $2::text as b, $3::bytea as c, $4::timestamptz is null as d", 41, "x", b"\0", None)
        assert tuple(row) == (42, "x", b"\0", True)
        assert await connection.fetchval("select repeat('x', 3000000)") == "x" * 3_000_000
        assert len(await connection.fetch("select g, repeat('y', 1000) from generate_series(1, 5000) g")) == 5000
        statement = await connection.prepare("select $1::text || 'b'")
        assert [await statement.fetchval(text) for text in ("a", "b")] == ["ab", "bb"]

    one.run(work)


def test_errors_are_the_servers_and_the_session_goes_on(one: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("select * from nosuch where a = $1", 1)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("select 1/0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("create table rolled_back (a int)")
                await connection.fetch("select 1 / $1::int", 0)
        assert await connection.fetchval("select to_regclass('rolled_back')") is None

    one.run(work)


def test_forty_clients_share_four_connections(one: Mesh) -> None:
    async def client(n: int, connection: asyncpg.Connection) -> set[int]:
        seen = set()
        for turn in range(10):
            async with connection.transaction():
                seen.add(await connection.fetchval("select pg_backend_pid()"))
                assert await connection.fetchval("select $1::int * 2", n + turn) == 2 * (n + turn)
        return seen

    async def main() -> list[set[int]]:
        connections = await asyncio.gather(*(one.connect() for _ in range(40)))
        try:
            return await asyncio.gather(*(client(n, connection) for n, connection in enumerate(connections)))
        finally:
            await asyncio.gather(*(connection.close() for connection in connections))

    assert len(set.union(*asyncio.run(main()))) <= 4


def test_no_state_of_one_client_reaches_another(one: Mesh) -> None:
    async def main() -> None:
        first = await one.connect(server_settings={"work_mem": "1234kB", "application_name": "first"})
        second = await one.connect()
        await first.execute("set lock_timeout = 777")
        await first.execute("create temp table private (a int)")
        for _ in range(8):  # twice as often as there are connections
            assert await second.fetchval("select current_setting('work_mem')") != "1234kB"
            assert await second.fetchval("show lock_timeout") == "0"
            assert await second.fetchval("select to_regclass('pg_temp.private')") is None
        assert await first.fetchval("show lock_timeout") == "777ms"
        assert await first.fetchval("show work_mem") == "1234kB"
        await first.close()
        others = await asyncio.gather(*(one.connect() for _ in range(4)))
        for other in others:
            await other.execute("begin")
            assert await other.fetchval("show lock_timeout") == "0"
            assert await other.fetchval("select to_regclass('pg_temp.private')") is None
        await asyncio.gather(*(other.close() for other in [second, *others]))

    asyncio.run(main())


def test_copy_both_ways(one: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> bytes:
        await connection.execute("drop table if exists copied; create table copied (a int, b text)")
        await connection.copy_records_to_table("copied", records=[(n, "x" * 1000) for n in range(3000)])
        out = io.BytesIO()
        await connection.copy_from_query("select a from copied order by a", output=out)
        with pytest.raises(asyncpg.BadCopyFileFormatError):
            await connection.copy_to_table("copied", source=io.BytesIO(b"no number\tx\ty\n"))
        await connection.execute("drop table copied")
        return out.getvalue()

    assert one.run(work).split() == [str(n).encode() for n in range(3000)]


def test_a_running_statement_is_cancelled_and_no_other(one: Mesh) -> None:
    async def main() -> None:
        victim, bystander = await one.connect(), await one.connect()
        other = asyncio.create_task(bystander.fetchval("select pg_sleep(1) is null"))
        with pytest.raises(asyncio.TimeoutError):
            await victim.fetch("select pg_sleep(30)", timeout=0.2)
        assert await victim.fetchval("select 1") == 1
        assert await other is False
        await asyncio.gather(victim.close(), bystander.close())

    asyncio.run(main())


def test_a_full_pool_says_which_and_how_full(mesh, postgres_shards) -> None:
    one = mesh(postgres_shards[:1], size=1, pool=", waitTimeout: 2s")

    async def main() -> None:
        holder, waiter = await one.connect(), await one.connect()
        async with holder.transaction():
            await holder.fetch("select 1")
            with pytest.raises(asyncpg.TooManyConnectionsError, match="pool shop/s0"):
                await waiter.fetch("select 1")
        assert await waiter.fetchval("select 1") == 1
        await asyncio.gather(holder.close(), waiter.close())

    asyncio.run(main())


def test_session_mode_keeps_the_connection(mesh, postgres_shards) -> None:
    one = mesh(postgres_shards[:1], size=2, mode="session")

    async def work(connection: asyncpg.Connection) -> None:
        pids = {await connection.fetchval("select pg_backend_pid()") for _ in range(5)}
        assert len(pids) == 1
        assert await connection.fetchval("select pg_backend_pid()", column=0) in pids

    one.run(work)
