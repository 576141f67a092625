"""PostgreSQL: `pgbench -S` (one SELECT by primary key), pooled by transaction, and sharded."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from mesh_core.lab import Missing, Postgres, postgres, tools
from tests.bench import proxies
from tests.bench.ladder import Rung, Target, Workload
from tests.bench.measure import Done

CLIENTS = 8
CROWD = 500
CROWDED = 20  # server connections for them
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
            Target("simple", "parse", peer, 1.0),
            Target("prepared", "parse", peer, 1.0),
            Target("simple", "route", peer, 1.5),
            Target("prepared", "route", peer, 1.3),
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


class Crowd:
    """Many clients on few server connections: how long the unluckiest wait."""

    name = "postgres, 500 clients"

    def __init__(self) -> None:
        self.workloads = [Workload("simple, 500 on 20", "us", lambda rung, scale: _pgbench(rung, "simple", scale, CROWD, with_log=True))]
        self.targets = [Target("simple, 500 on 20", "parse", ("pgbouncer", "simple, 500 on 20"), 1.0, "p99")]

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        (server,) = postgres.cluster(1, database=DATABASE, users={USER: PASSWORD}, settings={"shared_buffers": "128MB"})
        stack.callback(server.kill)
        _initialise(server)
        objects = [_database("pooled", [server], CROWDED), proxies.listener("parse", "postgres", "pooled")]
        return [
            *proxies.midstream(stack, objects, {"parse": "parse"}),
            proxies.pgbouncer(stack, server.address, DATABASE, USER, PASSWORD, CROWDED),
        ]


def _database(name: str, servers: list[Postgres], size: int = proxies.CONNECTIONS) -> dict:
    return proxies.new(
        "Database",
        name,
        engine="postgres",
        credentials={"user": USER, "passwordFrom": {"env": "BENCH_PASSWORD"}},
        pool={"mode": "transaction", "size": size},
        shards=[{"name": server.name, "primary": f"{server.address}/{DATABASE}"} for server in servers],
    )


def _initialise(server: Postgres) -> None:
    """Each server has all accounts: what is measured is the way of a statement, not the number of rows."""
    _run(server.address, ["-i", "-q", "-s", str(PGBENCH_SCALE)])


def _pgbench(rung: Rung, mode: str, scale: float, clients: int = CLIENTS, *, with_log: bool = False) -> Done:
    seconds = max(1, round(SECONDS * scale))
    argv = ["-n", "-S", "-c", str(clients), "-j", "1", "-T", str(seconds), "-M", mode]
    with tempfile.TemporaryDirectory() as folder:
        said = _run(rung.address, [*argv, "--log", f"--log-prefix={folder}/log"] if with_log else argv)
        took = sorted(int(line.split()[2]) for log in Path(folder).iterdir() for line in log.read_text().splitlines())
    done, rate = TRANSACTIONS.search(said), RATE.search(said)
    if not done or not rate or int(done[1]) == 0:
        raise RuntimeError(f"pgbench on {rung.name}: {said[-800:]}")
    return Done(int(done[1]), float(rate[1]), took[len(took) * 99 // 100] / 1e6 if took else 0.0)


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
