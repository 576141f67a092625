"""The control plane looks after servers for sidecars that do not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from mesh_core.lab import Postgres, Standby, ports, until_true
from mesh_core.lab.process import descendants
from tests.conftest import start
from tests.integration.postgres.conftest import ENVIRONMENT, objects
from tests.integration.postgres.test_failover import LOST

WITHIN_S = 30


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Standby]]:
    primary = start(lambda: Postgres("primary", database="shop", users={"app": "app-password"}).start())
    standby = Standby(primary)
    try:
        standby.start()
        yield primary, standby
    finally:
        primary.kill()
        standby.kill()


def signal_all(server: Postgres, number: signal.Signals) -> None:
    for pid in (server.process.pid, *descendants(server.process.pid)):
        os.kill(pid, number)


def test_a_primary_that_hangs_is_replaced_at_every_sidecar_and_never_believed_again(control, sidecar, servers, monkeypatch) -> None:
    primary, standby = servers
    primary.sql("create table t (n int)")
    primary.sql("grant all on t to app")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    plane = control()
    port = ports.free()
    text = objects([primary], port).replace('/shop"}', f'/shop", replicas: ["127.0.0.1:{standby.port}/shop"]}}')
    applied = plane.apply(text)
    assert applied.returncode == 0, applied.stderr
    sidecar(control=plane.grpc, node="shop-1")

    async def insert(number: int) -> None:
        connection = await asyncpg.connect(host="127.0.0.1", port=port, user="app", database="shop", ssl=False, timeout=60)
        try:
            await connection.execute("insert into t values ($1)", number)
        finally:
            connection.terminate()

    asyncio.run(insert(1))
    until_true("the row is replicated", lambda: standby.sql("select count(*) = 1 from t")[0][0])
    signal_all(primary, signal.SIGSTOP)

    async def main() -> None:
        # Sent to a server that will not answer: it hears that its connection is lost, or waits for the promoted one.
        hanging = asyncio.create_task(insert(2))
        await asyncio.to_thread(standby.promote)
        await asyncio.wait([hanging], timeout=60)
        assert hanging.done()
        assert hanging.exception() is None or isinstance(hanging.exception(), LOST)
        await insert(3)
        signal_all(primary, signal.SIGCONT)
        await asyncio.to_thread(plane.log_has, "deposed", WITHIN_S)
        shown = await asyncio.to_thread(plane.run, "status", "--check")
        assert shown.returncode == 0, shown.stdout
        await asyncio.gather(*(insert(number) for number in range(4, 20)))

    asyncio.run(main())
    assert {row["n"] for row in primary.sql("select n from t")} <= {1, 2}
    assert {row["n"] for row in standby.sql("select n from t")} >= {1, *range(3, 20)}
