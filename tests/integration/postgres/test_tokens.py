"""Causal tokens: what one session has seen, a session of another sidecar is made to see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import asyncpg
import psycopg
import pytest

from tests.integration.postgres.conftest import Mesh
from tests.integration.postgres.test_reads import Split, served, settled, split

__all__ = ["split"]  # the fixture

SELECT = "select value from pairs where id = 99"
READS = "maxLag: 1h, wait: 0s, tokens: true"


async def by_setting(connection: asyncpg.Connection, token: str) -> int:
    assert await connection.execute(f"SET midstream.after = '{token}'") == "SET"
    return await connection.fetchval(SELECT)


async def by_comment(connection: asyncpg.Connection, token: str) -> int:
    return await connection.fetchval(f"/* midstream after={token} */ {SELECT}")


async def by_comment_in_a_query(connection: asyncpg.Connection, token: str) -> int:
    await connection.execute(f"/* midstream after={token} */ select 1")
    return await connection.fetchval(SELECT)


async def by_comment_in_front_of_begin(connection: asyncpg.Connection, token: str) -> int:
    await connection.execute(f"/* midstream after={token} */ begin read only")
    value = await connection.fetchval(SELECT)
    await connection.execute("commit")
    return value


@pytest.mark.parametrize("hand_in", [by_setting, by_comment, by_comment_in_a_query, by_comment_in_front_of_begin])
def test_a_session_sees_what_another_one_wrote(split: Split, hand_in: Callable[[asyncpg.Connection, str], object]) -> None:
    ours, theirs = split.start(READS), split.start(READS)

    async def main() -> None:
        writer, reader, other = await ours.connect(), await settled(split, theirs), await settled(split, theirs)
        await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
        await writer.execute("update pairs set value = 1 where id = 99")
        token = await writer.fetchval("SHOW midstream.position")
        assert re.fullmatch(r"00000001/[0-9A-F]+/[0-9A-F]+", token)
        assert await other.fetchval(SELECT) == 0, "an hour of lag is allowed"
        assert await hand_in(reader, token) == 1
        assert await reader.fetchval(SELECT) == 1, "from then on"
        assert await other.fetchval(SELECT) == 0, "nobody else"
        for connection in (writer, reader, other):
            await connection.close()

    asyncio.run(main())


def test_a_token_that_is_replayed_keeps_nobody_from_the_replica(split: Split) -> None:
    mesh = split.start(READS)

    async def main() -> None:
        writer, reader = await mesh.connect(), await settled(split, mesh)
        await writer.execute("update pairs set value = 1 where id = 99")
        token = await writer.fetchval("show midstream.position;")
        await asyncio.to_thread(split.caught_up)
        before = served(mesh, "replica")
        assert await by_setting(reader, token) == 1
        assert served(mesh, "replica") == before + 1
        await writer.close()
        await reader.close()

    asyncio.run(main())


def test_both_protocols_and_transactions(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 5s, tokens: true")
    with psycopg.connect(f"host=127.0.0.1 port={mesh.port} user=app dbname=shop sslmode=disable") as connection:
        (simple,) = connection.execute("show midstream.position").fetchone() or ()
        with connection.cursor(binary=True) as cursor:  # the extended protocol
            (extended,) = cursor.execute("show midstream.position").fetchone() or ()
            assert cursor.description is not None and cursor.description[0].name == "midstream.position"
            cursor.execute(f"set session midstream.after to '{extended}'")
            assert cursor.statusmessage == "SET"
        assert simple.split("/")[0] == extended.split("/")[0] == "00000001"
        connection.execute(f"set midstream.after = '{simple}'")
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "text", ["SET midstream.after = 'yesterday'", "SET LOCAL midstream.after = '00000001/0/1'", "/* midstream after=x */ select 1"]
)
def test_what_is_no_token_is_refused(split: Split, text: str) -> None:
    mesh = split.start(READS)

    async def work(connection: asyncpg.Connection) -> None:
        for run in (connection.execute, connection.fetch):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="this is no position"):
                await run(text)
        assert await connection.fetchval("select 1") == 1

    mesh.run(work)


def test_off_by_default(one: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        assert await connection.fetchval("/* midstream after=x */ select 1") == 1
        with pytest.raises(asyncpg.UndefinedObjectError):
            await connection.execute("show midstream.position")

    one.run(work)
