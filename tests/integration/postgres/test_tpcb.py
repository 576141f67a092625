"""pgbench's own TPC-B through a failover: nothing acknowledged is lost, and who had nothing under way sees nothing.

``TPCB_TRANSACTIONS`` (per client) makes the drill longer.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_core.lab import Missing, Postgres, ports, tools, until_true
from tests.conftest import start
from tests.integration.postgres.test_failover import IDLE, POOL, Pair, pair

__all__ = ["pair"]  # the fixture

CLIENTS = 20
TRANSACTIONS = int(os.environ.get("TPCB_TRANSACTIONS", "200"))
PROCESSED = re.compile(r"number of transactions actually processed: (\d+)")
ABORTED = re.compile(r"client \d+ .*aborted")
SUMS = """
select (select sum(abalance) from pgbench_accounts) as accounts, (select sum(tbalance) from pgbench_tellers) as tellers,
       (select sum(bbalance) from pgbench_branches) as branches, sum(delta) as history, count(*) as rows from pgbench_history
"""


@dataclass
class Report:
    """What pgbench says it did: each transaction in its log was acknowledged, each client that it gave up had lost its connection."""

    acknowledged: int
    aborted: list[str]
    output: str


def pgbench(port: int, *arguments: str) -> subprocess.Popen[str]:
    program = tools.find("pgbench")
    if program is None:
        raise Missing(tools.PACKAGES["pgbench"], "the load generator is not installed")
    argv = [str(program), "-h", ports.LOOPBACK, "-p", str(port), "-U", "app", "-n", *arguments, "shop"]
    environment = {**os.environ, "PGPASSWORD": "app-password"}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str], log: Path) -> Report:
    out, err = process.communicate(timeout=120)
    processed = PROCESSED.search(out)
    assert processed, out + err
    logged = sum(len(path.read_text().splitlines()) for path in log.parent.glob(log.name + ".*"))
    assert logged == int(processed[1]), "its log and its report are of the same transactions"
    return Report(logged, [line for line in err.splitlines() if ABORTED.search(line)], out + err)


def history(server: Postgres) -> int:
    return int(server.sql("select count(*) as rows from pgbench_history")[0]["rows"])


@pytest.mark.parametrize("mode", ["simple", "prepared"])
def test_pgbench_loses_nothing_and_only_what_was_in_flight_fails(pair: Pair, mode: str, tmp_path: Path) -> None:
    process = start(lambda: pgbench(pair.primary.port, "-i", "-q", "-s", "2"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    pair.make_synchronous()
    some = CLIENTS * TRANSACTIONS // 10

    async def main() -> Report:
        idle = [await pair.mesh.connect(timeout=60) for _ in range(IDLE)]
        assert [await one.fetchval("select 1") for one in idle] == [1] * IDLE
        log = tmp_path / "log"
        # A thread for each: it waits for the answer to a Parse with the thread, and with it every other client of the thread.
        clients = ["-c", str(CLIENTS), "-j", str(CLIENTS), "-t", str(TRANSACTIONS)]
        running = pgbench(pair.mesh.port, "-b", "tpcb-like", *clients, "-M", mode, "--log", f"--log-prefix={log}")
        try:
            await asyncio.to_thread(until_true, "pgbench is at work", lambda: history(pair.primary) > some)
            await pair.kill_primary()
            assert running.poll() is None, "it was to be in the middle of its work"
            waiting = asyncio.gather(*(one.fetchval("select count(*) from pgbench_branches") for one in idle[:10]))
            await pair.promote()
            assert await asyncio.wait_for(waiting, 60) == [2] * 10
            report = await asyncio.to_thread(ended, running, log)
        finally:
            running.kill()
        assert await asyncio.gather(*(one.fetchval("select 2") for one in idle)) == [2] * IDLE
        await asyncio.gather(*(one.close() for one in idle))
        return report

    report = asyncio.run(main())
    found = pair.standby.sql(SUMS)[0]
    unacknowledged = found["rows"] - report.acknowledged
    print(f"{mode}: {report.acknowledged} acknowledged, {found['rows']} rows; {len(report.aborted)} of {CLIENTS} failed, {POOL} connections")
    assert 0 <= unacknowledged <= len(report.aborted), "a commit whose answer was lost may have been done; an acknowledged one was"
    assert len(report.aborted) <= POOL, report.output
    whole = (CLIENTS - len(report.aborted)) * TRANSACTIONS
    assert report.acknowledged >= whole, "the others did all their work"
    assert found["accounts"] == found["tellers"] == found["branches"] == found["history"]
