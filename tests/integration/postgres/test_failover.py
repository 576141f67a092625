"""A primary that is killed, its standby that is promoted, and clients that should not have to care.

``FAILOVER_CLIENTS`` and ``FAILOVER_SECONDS`` make the drill longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import Postgres, Standby, ports, until_true
from tests.conftest import start
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.process import Sidecar

CLIENTS = int(os.environ.get("FAILOVER_CLIENTS", "20"))
SECONDS = float(os.environ.get("FAILOVER_SECONDS", "1"))
IDLE = 50
POOL = 8
# Told between two statements, the driver is between two states until it reads the end of the stream.
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)


@dataclass
class Pair:
    """A primary, its streaming standby, and a sidecar that knows both."""

    primary: Postgres
    standby: Standby
    mesh: Mesh

    async def promote(self) -> None:
        await asyncio.to_thread(self.standby.promote)

    async def kill_primary(self) -> None:
        await asyncio.to_thread(self.primary.kill)

    def make_synchronous(self) -> None:
        """From here on a commit is acknowledged when the standby has it."""
        self.primary.sql("alter system set synchronous_standby_names = 'standby'")
        self.primary.sql("select pg_reload_conf()")
        state = "select sync_state = 'sync' from pg_stat_replication where application_name = 'standby'"
        until_true("the standby is synchronous", lambda: self.primary.sql(state)[0][0])


def with_replica(primary: Postgres, standby: Postgres, port: int, **fields: Any) -> str:
    """The objects of a Database of one shard with a replica."""
    text = objects([primary], port, size=POOL, **fields)
    return text.replace('/shop"}', f'/shop", replicas: ["127.0.0.1:{standby.port}/shop"]}}')


@pytest.fixture
def pair(sidecar: Callable[..., Sidecar]) -> Iterator[Pair]:
    primary = start(lambda: Postgres("primary", database="shop", users={"app": "app-password"}).start())
    standby = Standby(primary)
    try:
        standby.start()
        port = ports.free()
        yield Pair(primary, standby, Mesh(sidecar(with_replica(primary, standby, port), env=ENVIRONMENT), port, [primary, standby]))
    finally:
        primary.kill()
        standby.kill()


class Count:
    """A number that can be waited for."""

    def __init__(self) -> None:
        self.value = 0
        self._grown = asyncio.Event()

    def add(self) -> None:
        self.value += 1
        self._grown.set()

    async def more(self, number: int, clients: list[asyncio.Task[None]]) -> None:
        """Until those have made it grow by so much; raises what one of them ended with."""
        wanted = self.value + number
        while self.value < wanted:
            self._grown.clear()
            grown = asyncio.create_task(self._grown.wait())
            done, _ = await asyncio.wait([grown, *clients], timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"nothing went on: {self.value} of {wanted}"
            for ended in done - {grown}:
                ended.result()


@dataclass
class Ledger:
    """What clients did: TPC-B's four statements in a transaction, each with a row of its own."""

    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    in_flight: set[int] = field(default_factory=set)
    done: Count = field(default_factory=Count)
    stopped: bool = False

    async def client(self, mesh: Mesh, number: int) -> None:
        connection = await mesh.connect(timeout=60)
        sequence = 0
        while not self.stopped:
            sequence += 1
            self.in_flight.add(number)
            try:
                async with connection.transaction():
                    await connection.execute("update accounts set balance = balance + 1 where id = $1", number)
                    await connection.fetchval("select balance from accounts where id = $1", number)
                    await connection.execute("update branches set balance = balance + 1 where id = $1", number % 3)
                    await connection.execute("insert into history values ($1, $2)", number, sequence)
                self.acknowledged.append((number, sequence))
                self.done.add()
            except LOST as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                connection.terminate()
                connection = await mesh.connect(timeout=60)
            finally:
                self.in_flight.discard(number)
        await connection.close()


SCHEMA = """
create table accounts (id int primary key, balance bigint not null default 0);
create table branches (id int primary key, balance bigint not null default 0);
create table history (client int, sequence int, primary key (client, sequence));
insert into accounts select n, 0 from generate_series(0, 999) n;
insert into branches values (0, 0), (1, 0), (2, 0);
grant all on accounts, branches, history to app;
"""


def prepare(pair: Pair) -> None:
    for statement in SCHEMA.strip().split("\n"):
        pair.primary.sql(statement)
    pair.make_synchronous()


def test_a_promoted_standby_takes_over_and_nothing_acknowledged_is_lost(pair: Pair) -> None:
    prepare(pair)
    mesh, ledger = pair.mesh, Ledger()

    async def main() -> int:
        idle = [await mesh.connect(timeout=60) for _ in range(IDLE)]
        assert [await one.fetchval("select 1") for one in idle] == [1] * IDLE
        clients = [asyncio.create_task(ledger.client(mesh, number)) for number in range(CLIENTS)]
        await ledger.done.more(CLIENTS * 3, clients)
        await asyncio.sleep(SECONDS)
        await pair.kill_primary()
        in_flight = len(ledger.in_flight)
        # Those who come now wait for whoever is promoted.
        waiting = asyncio.gather(*(one.fetchval("select count(*) from accounts") for one in idle[:10]))
        await pair.promote()
        assert await asyncio.wait_for(waiting, 60) == [1000] * 10
        await ledger.done.more(CLIENTS * 3, clients)
        ledger.stopped = True
        await asyncio.wait_for(asyncio.gather(*clients), 60)
        assert await asyncio.gather(*(one.fetchval("select 2") for one in idle)) == [2] * IDLE
        await asyncio.gather(*(one.close() for one in idle))
        return in_flight

    in_flight = asyncio.run(main())
    rows = {(row["client"], row["sequence"]) for row in pair.standby.sql("select client, sequence from history")}
    lost = [one for one in ledger.acknowledged if one not in rows]
    print(f"{len(ledger.acknowledged)} acknowledged, {len(lost)} lost; {len(ledger.failed)} failed of {in_flight} in flight, {POOL} connections")
    assert not lost
    assert len(ledger.failed) <= min(in_flight, POOL), ledger.failed
    assert mesh.sidecar.metric("midstream_failovers_total") >= 1


def test_reads_that_were_not_answered_run_again(pair: Pair) -> None:
    pair.primary.sql("create table t (n int)")
    pair.primary.sql("insert into t select generate_series(1, 3)")
    pair.primary.sql("grant select on t to app")

    async def main() -> None:
        readers = [await pair.mesh.connect(timeout=60) for _ in range(4)]
        # A lock keeps the reads from being answered.
        locker = await pair.primary.connect()
        await locker.execute("begin; lock table t")
        reads = asyncio.gather(*(one.fetchval("select sum(n) from t") for one in readers))
        blocked = "select count(*) = 4 from pg_stat_activity where wait_event_type = 'Lock' and query like 'select sum%'"
        await asyncio.to_thread(until_true, "the reads wait", lambda: pair.primary.sql(blocked)[0][0])
        await pair.kill_primary()
        await pair.promote()
        assert await asyncio.wait_for(reads, 60) == [6] * 4
        locker.terminate()
        for one in readers:
            await one.close()

    asyncio.run(main())
    assert pair.mesh.sidecar.metric("midstream_replayed_requests_total") >= 4


def test_idle_clients_see_nothing_of_a_restart_under_load(sidecar: Callable[..., Sidecar]) -> None:
    server = start(lambda: Postgres("restarts", database="shop", users={"app": "app-password"}).start())
    port = ports.free()
    mesh = Mesh(sidecar(objects([server], port, size=POOL), env=ENVIRONMENT), port, [server])
    failed: list[str] = []
    done = Count()
    stopped = False

    async def active() -> None:
        connection = await mesh.connect(timeout=60)
        while not stopped:
            try:
                await connection.fetchval("select 1")
                done.add()
            except LOST as error:
                failed.append(str(error))
                connection.terminate()
                connection = await mesh.connect(timeout=60)
        await connection.close()

    async def main() -> None:
        nonlocal stopped
        idle = [await mesh.connect(timeout=60) for _ in range(500)]
        clients = [asyncio.create_task(active()) for _ in range(50)]
        await done.more(200, clients)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await done.more(200, clients)
        stopped = True
        await asyncio.gather(*clients)
        for one in idle:
            assert await one.fetchval("select 2") == 2
            await one.close()

    try:
        asyncio.run(main())
    finally:
        server.kill()
    print(f"{len(failed)} of 50 active clients lost their connection")
    assert len(failed) <= POOL, failed
