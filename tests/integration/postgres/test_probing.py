"""Servers that no connection tells the truth about: one that hangs, and one that comes back from the dead as a primary."""

from __future__ import annotations

import asyncio
import os
import signal

from mesh_core.lab import until_true
from mesh_core.lab.process import descendants
from tests.integration.postgres.test_failover import LOST, Pair, pair  # noqa: F401 (a fixture)


def stop_or_continue(of: Pair, number: signal.Signals) -> None:
    pid = of.primary.process.pid
    for one in [pid, *descendants(pid)]:
        os.kill(one, number)


def test_a_primary_that_hangs_is_left_for_the_promoted_one_and_never_believed_again(pair: Pair) -> None:  # noqa: F811
    pair.primary.sql("create table t (n int)")
    pair.primary.sql("grant all on t to app")

    async def insert(number: int) -> None:
        connection = await pair.mesh.connect(timeout=60)
        try:
            await connection.execute("insert into t values ($1)", number)
        finally:
            connection.terminate()

    async def main() -> None:
        await insert(1)
        # The standby has it before its primary stops for good.
        await asyncio.to_thread(until_true, "the row is replicated", lambda: pair.standby.sql("select count(*) = 1 from t")[0][0])
        stop_or_continue(pair, signal.SIGSTOP)
        hanging = asyncio.create_task(insert(2))
        await pair.promote()
        # It hears that its connection is lost, or, where it had none yet, waits for the promoted one.
        await asyncio.wait([hanging], timeout=60)
        assert hanging.done()
        assert hanging.exception() is None or isinstance(hanging.exception(), LOST)
        await insert(3)
        stop_or_continue(pair, signal.SIGCONT)
        await asyncio.to_thread(until_true, "the old primary is deposed", lambda: "'deposed'" in pair.mesh.sidecar.get("/config").text)
        await asyncio.gather(*(insert(number) for number in range(4, 20)))

    asyncio.run(main())
    assert {row["n"] for row in pair.primary.sql("select n from t")} <= {1, 2}
    assert {row["n"] for row in pair.standby.sql("select n from t")} >= {1, *range(3, 20)}
