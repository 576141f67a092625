"""PostgreSQL: `pgbench -S` (one SELECT by primary key), pooled by transaction, and sharded."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack

from mesh_core.lab import Missing, Postgres, postgres, tools
from tests.bench import proxies
from tests.bench.ladder import Rung, Target, Workload
from tests.bench.measure import Done

CLIENTS = 8
PGBENCH_SCALE = 5  # 500,000 accounts: the working set stays in memory
SECONDS = 4.0
USER, PASSWORD = "app", "app-password"
DATABASE = "bench"
TRANSACTIONS = re.compile(r"number of transactions actually processed: (\d+)")
RATE = re.compile(r"tps = ([\d.]+)")


class PostgreSQL:
    name = "postgres"

    def __init__(self) -> None:
        self.workloads = [
            Workload("simple", "us", lambda rung, scale: _pgbench(rung, "simple", scale)),
            # PgBouncer before 1.21 does not know prepared statements in transaction pooling.
            Workload("prepared", "us", lambda rung, scale: _pgbench(rung, "prepared", scale), without=frozenset({"pgbouncer"})),
        ]
        peer = ("pgbouncer", "simple")
        self.targets = [
            Target("simple", "parse", peer, 1.2),
            Target("prepared", "parse", peer, 1.2),
            Target("simple", "route", peer, 1.5),
            Target("prepared", "route", peer, 1.5),
        ]

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        settings = {"shared_buffers": "128MB"}
        shards = postgres.cluster(2, database=DATABASE, users={USER: PASSWORD}, settings=settings)
        for server in shards:
            stack.callback(server.kill)
            _initialise(server)
        new, listener = proxies.new, proxies.listener
        objects = [
            new("TcpService", "one", endpoint=shards[0].address),
            _database("pooled", shards[:1]),
            _database("sharded", shards),
            new("Sharding", "sharded", database="sharded", tables=[{"name": "pgbench_accounts", "key": "aid", "method": "hash"}]),
            listener("relay", "tcp", "one"),
            listener("parse", "postgres", "pooled"),
            listener("route", "postgres", "sharded"),
            listener("chain", "postgres", "sharded"),
            *proxies.policies("chain"),
        ]
        return [
            Rung("direct", shards[0].address, None),
            *proxies.midstream(stack, objects, {name: name for name in ("relay", "parse", "route", "chain")}),
            proxies.pgbouncer(stack, shards[0].address, DATABASE, USER, PASSWORD),
        ]


def _database(name: str, servers: list[Postgres]) -> dict:
    return proxies.new(
        "Database",
        name,
        engine="postgres",
        credentials={"user": USER, "passwordFrom": {"env": "BENCH_PASSWORD"}},
        pool={"mode": "transaction", "size": proxies.CONNECTIONS},
        shards=[{"name": server.name, "primary": f"{server.address}/{DATABASE}"} for server in servers],
    )


def _initialise(server: Postgres) -> None:
    """Each server has all accounts: what is measured is the way of a statement, not the number of rows."""
    _run(server.address, ["-i", "-q", "-s", str(PGBENCH_SCALE)])


def _pgbench(rung: Rung, mode: str, scale: float) -> Done:
    seconds = max(1, round(SECONDS * scale))
    said = _run(rung.address, ["-n", "-S", "-c", str(CLIENTS), "-j", "1", "-T", str(seconds), "-M", mode])
    done, rate = TRANSACTIONS.search(said), RATE.search(said)
    if not done or not rate or int(done[1]) == 0:
        raise RuntimeError(f"pgbench on {rung.name}: {said[-800:]}")
    return Done(int(done[1]), float(rate[1]))


def _run(address: str, arguments: list[str]) -> str:
    program = tools.find("pgbench")
    if program is None:
        raise Missing(tools.PACKAGES["pgbench"], "the load generator is not installed")
    host, _, port = address.partition(":")
    argv = [str(program), "-h", host, "-p", port, "-U", USER, *arguments, DATABASE]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ, "PGPASSWORD": PASSWORD})
    if ran.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {ran.stderr[-800:]}")
    return ran.stdout
