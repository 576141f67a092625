"""Redis: redis-benchmark against a cluster of three masters, and against plain servers for the rungs that know no cluster."""

from __future__ import annotations

import csv
import subprocess
from contextlib import ExitStack

from mesh_core.lab import RedisCluster, RedisServer, start_all
from tests.bench import proxies
from tests.bench.ladder import Rung, Target, Workload
from tests.bench.measure import Done

KEYS = 100_000
CLIENTS = 50
VALUE_BYTES = 64
MGET_KEYS = 10
RANDOM_KEY = "key:__rand_int__"


class Redis:
    name = "redis"

    def __init__(self) -> None:
        self.workloads = [
            _workload("GET", 150_000, 1, ["-t", "get"]),
            _workload("GET pipeline 16", 800_000, 16, ["-t", "get"]),
            _workload("SET", 150_000, 1, ["-t", "set"]),
            _workload(f"MGET of {MGET_KEYS}", 60_000, 1, ["mget", *[RANDOM_KEY] * MGET_KEYS]),
        ]
        self.targets = [
            Target("GET", "route", ("envoy", "GET"), 0.4),
            Target("GET pipeline 16", "route", ("envoy", "GET pipeline 16"), 0.25),
            Target(f"MGET of {MGET_KEYS}", "route", ("envoy", f"MGET of {MGET_KEYS}"), 0.7),
        ]

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        cluster = stack.enter_context(RedisCluster(masters=3, replicas=0))
        plain = [RedisServer(f"plain-{index}") for index in range(3)]
        start_all(*plain)
        for server in plain:
            stack.callback(server.kill)
        addresses = [server.address for server in plain]
        new, listener = proxies.new, proxies.listener
        objects = [
            new("TcpService", "plain", endpoint=addresses[0]),
            new("RedisCluster", "single", nodes=addresses[:1], mode="single"),
            new("RedisCluster", "cluster", nodes=cluster.addresses),
            listener("relay", "tcp", "plain"),
            listener("parse", "redis", "single"),
            listener("route", "redis", "cluster"),
            listener("chain", "redis", "cluster"),
            *proxies.policies("chain"),
        ]
        rungs = [
            Rung("direct", addresses[0], None),
            *proxies.midstream(stack, objects, {name: name for name in ("relay", "parse", "route", "chain")}),
            proxies.nutcracker(stack, addresses),
            proxies.envoy(stack, cluster.addresses),
        ]
        self._fill([rung for rung in rungs if rung.name in ("direct", "nutcracker", "envoy")])
        return rungs

    def _fill(self, rungs: list[Rung]) -> None:
        """Every key on every set of servers, so that a GET finds something."""
        for rung in rungs:
            _benchmark(rung, 6 * KEYS, 16, ["-t", "set"])


def _workload(name: str, requests: int, pipeline: int, command: list[str]) -> Workload:
    return Workload(name, "us", lambda rung, scale: _benchmark(rung, max(1_000, int(requests * scale)), pipeline, command))


def _benchmark(rung: Rung, requests: int, pipeline: int, command: list[str]) -> Done:
    host, _, port = rung.address.partition(":")
    argv = ["redis-benchmark", "-h", host, "-p", port, "-c", str(CLIENTS), "-n", str(requests), "-P", str(pipeline)]
    argv += ["-r", str(KEYS), "-d", str(VALUE_BYTES), "--csv", *command]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    rows = [row for row in csv.reader(ran.stdout.splitlines()) if len(row) > 1 and row[1] != "rps"]
    if ran.returncode or len(rows) != 1:
        raise RuntimeError(f"redis-benchmark on {rung.name}: {ran.stdout[-500:]} {ran.stderr[-500:]}")
    return Done(requests, float(rows[0][1]))
