"""Redis' near cache: one client connection that reads a hot set, with and without it, of a cluster on loopback and of a server a millisecond away.

On loopback the way to the node costs little more than the way to the sidecar, so what is won there is little but for replies that are
dear to make; what the cache is for is the other case.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from contextlib import ExitStack

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.bench import proxies
from tests.bench.ladder import Rung, Target, Workload
from tests.bench.measure import Done

KEYS = 1000
FIELDS = 200
AWAY_MS = 0.5  # each way
KEY = "near:{k}:__rand_int__"
HASH = "near:{k}:hash"


class Near:
    name = "redis, near cache"

    def __init__(self) -> None:
        self.workloads = [
            _workload("GET", 60_000, 1, ["get", KEY]),
            _workload("GET pipeline 64", 600_000, 64, ["get", KEY]),
            _workload(f"HGETALL of {FIELDS}", 20_000, 1, ["hgetall", HASH]),
        ]
        self.targets = [Target(workload.name, "far-near", ("far", workload.name), 5.0, "rate") for workload in self.workloads]

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        cluster = stack.enter_context(RedisCluster(masters=3, replicas=0))
        server = stack.enter_context(RedisServer("away"))
        away = ports.free()
        relay = subprocess.Popen([sys.executable, "-m", "tests.bench.far", str(away), ports.LOOPBACK, str(server.port), str(AWAY_MS)])
        stack.callback(relay.wait)
        stack.callback(relay.kill)
        new, listener = proxies.new, proxies.listener
        near = {"prefixes": ["near:"]}
        objects = [
            new("RedisCluster", "route", nodes=cluster.addresses),
            new("RedisCluster", "near", nodes=cluster.addresses, nearCache=near),
            new("RedisCluster", "far", nodes=[f"{ports.LOOPBACK}:{away}"], mode="single"),
            new("RedisCluster", "far-near", nodes=[f"{ports.LOOPBACK}:{away}"], mode="single", nearCache=near),
            *[listener(name, "redis", name) for name in ("route", "near", "far", "far-near")],
        ]
        rungs = proxies.midstream(stack, objects, {name: name for name in ("route", "near", "far", "far-near")})
        self._fill([rung for rung in rungs if rung.name in ("route", "far")])
        return rungs

    def _fill(self, rungs: list[Rung]) -> None:
        for rung in rungs:
            _benchmark(rung, 20 * KEYS, 64, ["set", KEY, "x" * 64])
            _benchmark(rung, 10 * FIELDS, 64, ["hset", HASH, "field:__rand_int__", "x" * 16], FIELDS)


def _workload(name: str, requests: int, pipeline: int, command: list[str]) -> Workload:
    return Workload(name, "us", lambda rung, scale: _benchmark(rung, _count(rung, requests, scale), pipeline, command))


def _count(rung: Rung, requests: int, scale: float) -> int:
    """Fewer where each takes a millisecond."""
    return max(1_000, int(requests * scale / (10 if rung.name == "far" else 1)))


def _benchmark(rung: Rung, requests: int, pipeline: int, command: list[str], keys: int = KEYS) -> Done:
    host, _, port = rung.address.partition(":")
    argv = ["redis-benchmark", "-h", host, "-p", port, "-c", "1", "-n", str(requests), "-P", str(pipeline), "-r", str(keys), "--csv", *command]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    rows = [row for row in csv.reader(ran.stdout.splitlines()) if len(row) > 1 and row[1] != "rps"]
    if ran.returncode or len(rows) != 1:
        raise RuntimeError(f"redis-benchmark on {rung.name}: {ran.stdout[-500:]} {ran.stderr[-500:]}")
    return Done(requests, float(rows[0][1]))
