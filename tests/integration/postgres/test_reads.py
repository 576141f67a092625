"""Reads on replicas: a session sees what it wrote, whatever the replica has replayed.

``READS_PAIRS`` makes the drills longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from mesh_core.lab import Postgres, Standby, ports, until_true
from tests.conftest import start
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.process import Sidecar

PAIRS = int(os.environ.get("READS_PAIRS", "400"))
CLIENTS = 8

pytestmark = pytest.mark.timeout(120 + PAIRS // 100)


@dataclass
class Split:
    """A primary, its streaming standby, and a sidecar that may read from it."""

    primary: Postgres
    standby: Standby
    start: Callable[..., Mesh]

    def caught_up(self) -> None:
        """Until the standby has all that the primary has."""
        lsn = self.primary.sql("select pg_current_wal_insert_lsn()::text as lsn")[0]["lsn"]
        until_true("the standby has replayed", lambda: self.standby.sql(f"select pg_last_wal_replay_lsn() >= '{lsn}' as done")[0]["done"])


SCHEMA = """
create table pairs (id int primary key, value int not null);
insert into pairs select n, 0 from generate_series(0, 99) n;
create unlogged table unlogged (n int);
insert into unlogged values (7);
create sequence counter;
create view writes as select nextval('counter') as n;
grant all on pairs, unlogged, counter, writes to app;
"""


@pytest.fixture
def split(sidecar: Callable[..., Sidecar]) -> Iterator[Split]:
    primary = start(lambda: Postgres("primary", database="shop", users={"app": "app-password"}).start())
    for statement in SCHEMA.strip().split("\n"):
        primary.sql(statement)
    standby = Standby(primary)

    def begin(reads: str) -> Mesh:
        port = ports.free()
        text = objects([primary], port, size=CLIENTS, database=f"  reads: {{from: replicas, {reads}}}")
        text = text.replace('/shop"}', f'/shop", replicas: ["127.0.0.1:{standby.port}/shop"]}}')
        return Mesh(sidecar(text, env=ENVIRONMENT), port, [primary, standby])

    try:
        standby.start()
        yield Split(primary, standby, begin)
    finally:
        primary.kill()
        standby.kill()


def served(mesh: Mesh, role: str) -> float:
    return mesh.sidecar.metric("midstream_sql_reads_total", role=role)


async def pairs(mesh: Mesh, number: int, count: int) -> int:
    """Writes and reads; how many reads did not see the write."""
    connection = await mesh.connect(timeout=60)
    stale = 0
    for n in range(1, count + 1):
        match n % 3:
            case 0:
                await connection.execute("update pairs set value = $2 where id = $1", number, n)
            case 1:
                await connection.execute(f"update pairs set value = {n} where id = {number}")
            case _:
                async with connection.transaction():
                    await connection.execute("update pairs set value = $2 where id = $1", number, n)
        stale += await connection.fetchval("select value from pairs where id = $1", number) != n
        stale += await connection.fetchval("select max(value) from pairs where id = $1", number) != n
    await connection.close()
    return stale


def drill(mesh: Mesh, count: int) -> tuple[int, float]:
    """Stale reads, and the share of reads that a replica served."""

    async def main() -> int:
        return sum(await asyncio.gather(*(pairs(mesh, number, count // CLIENTS) for number in range(CLIENTS))))

    before = served(mesh, "replica"), served(mesh, "primary")
    stale = asyncio.run(main())
    replica, primary = served(mesh, "replica") - before[0], served(mesh, "primary") - before[1]
    share = replica / max(1, replica + primary)
    print(f"{count} writes, {2 * count} reads, {stale} stale; {share:.0%} of {replica + primary:.0f} placed reads on the replica")
    return stale, share


def test_a_session_reads_what_it_wrote_from_a_replica_that_keeps_up(split: Split) -> None:
    mesh = split.start("wait: 5s")
    stale, _ = drill(mesh, PAIRS)
    assert stale == 0
    asyncio.run(in_its_turn(split, mesh))
    assert served(mesh, "replica") > 0


@pytest.mark.parametrize(("lag", "wait"), [("5ms", "100ms"), ("50ms", "20ms")], ids=["a little", "longer than reads wait"])
def test_a_session_reads_what_it_wrote_while_the_replica_lags(split: Split, lag: str, wait: str) -> None:
    split.standby.sql(f"alter system set recovery_min_apply_delay = '{lag}'")
    split.standby.sql("select pg_reload_conf()")
    stale, share = drill(split.start(f"wait: {wait}"), PAIRS)
    assert stale == 0
    assert share > 0 or lag == "50ms"


def test_a_session_reads_what_it_wrote_while_replay_stops_and_goes_on(split: Split) -> None:
    mesh = split.start("wait: 10ms")

    async def main() -> int:
        clients = asyncio.gather(*(pairs(mesh, number, PAIRS // CLIENTS) for number in range(CLIENTS)))
        while not clients.done():
            await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
            await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_resume()")
        return sum(await clients)

    assert asyncio.run(main()) == 0


async def settled(split: Split, mesh: Mesh) -> asyncpg.Connection:
    """A client whose next reads go to the replica."""
    connection = await mesh.connect(timeout=60)
    await connection.fetchval("select value from pairs where id = 99")  # a primary's answer tells the position
    await asyncio.to_thread(split.caught_up)
    before = served(mesh, "replica")
    while served(mesh, "replica") == before:
        assert await connection.fetchval("select value from pairs where id = 99") == 0
    return connection


async def in_its_turn(split: Split, mesh: Mesh) -> None:
    """A replica that was slow once is read again."""
    async with asyncio.timeout(60):
        await (await settled(split, mesh)).close()


def test_what_is_bound_to_the_primary_is_read_there(split: Split) -> None:
    mesh = split.start("maxLag: 1h, wait: 0s")
    select = "select value from pairs where id = 99"

    async def main() -> None:
        connection = await settled(split, mesh)
        other = await settled(split, mesh)
        await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
        await asyncio.to_thread(split.primary.sql, "update pairs set value = 1 where id = 99")
        assert await connection.fetchval(select) == 0, "the replica's answer: an hour of lag is allowed"
        async with other.transaction():
            assert await other.fetchval(select) == 1
        await connection.execute("create temp table pairs (id int, value int)")
        await connection.execute("insert into pairs values (99, 5)")
        assert await connection.fetchval(select) == 5
        await connection.execute("drop table pairs")
        assert await connection.fetchval(select) == 1, "it wrote, and the replica has not replayed that"
        await connection.close()
        await other.close()

    asyncio.run(main())


def test_settings_are_the_sessions_on_the_replica_too(split: Split) -> None:
    mesh = split.start("wait: 5s")

    async def main() -> None:
        connection = await settled(split, mesh)
        await connection.execute("set timezone = 'Asia/Tokyo'")
        for _ in range(10):
            assert await connection.fetchval("select extract(hour from '1970-01-01 00:00Z'::timestamptz)::int") == 9
        await connection.close()

    asyncio.run(main())
    assert served(mesh, "replica") >= 10


def test_a_replica_that_lags_too_much_is_not_read(split: Split) -> None:
    mesh = split.start("maxLag: 200ms, wait: 0s")

    async def main() -> None:
        connection = await settled(split, mesh)
        await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
        await asyncio.to_thread(split.primary.sql, "update pairs set value = 1 where id = 99")
        async with asyncio.timeout(30):
            while await connection.fetchval("select value from pairs where id = 99") != 1:
                pass
        await connection.close()

    asyncio.run(main())


def test_what_a_replica_cannot_run_the_primary_runs(split: Split) -> None:
    mesh = split.start("wait: 5s")

    async def main() -> None:
        connection = await settled(split, mesh)
        for n in range(1, 4):
            assert await connection.fetchval("select n from unlogged") == 7
            assert await connection.fetchval("select n from writes") == n
        await connection.close()

    asyncio.run(main())


def test_a_view_that_writes_is_a_write(split: Split) -> None:
    """Its words read. The primary runs it while nothing is known of the replica yet."""
    mesh = split.start("maxLag: 1h, wait: 0s")

    async def main() -> None:
        await asyncio.to_thread(split.standby.sql, "select pg_wal_replay_pause()")
        connection = await mesh.connect(timeout=60)
        for n in range(1, 20):
            assert await connection.fetchval("select n from writes") == n
            assert await connection.fetchval("select last_value from counter") == n
        await connection.close()

    asyncio.run(main())


def test_reads_go_on_without_the_replica(split: Split) -> None:
    mesh = split.start("wait: 5s")

    async def main() -> None:
        connections = [await settled(split, mesh) for _ in range(4)]
        await asyncio.to_thread(split.standby.kill)
        for connection in connections:
            assert await connection.fetchval("select value from pairs where id = 99") == 0
            await connection.close()

    asyncio.run(main())
