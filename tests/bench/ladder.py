"""A family's rungs and workloads, and the rounds in which they are measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Literal, NamedTuple, Protocol

from tests.bench.measure import Done, Sample, Spread, differences, ratios, sample, settle, verdict

PEERS = ("envoy", "nutcracker", "pgbouncer", "haproxy")


What = Literal["cpu", "rate", "p99", "added p50"]
FIGURE: dict[str, Callable[[Sample], float]] = {
    "cpu": lambda one: one.cpu_s,
    "rate": lambda one: one.per_second,
    "p99": lambda one: one.p99_s,
    "added p50": lambda one: one.p50_s,
}


class Rung(NamedTuple):
    """Where to connect, and whose CPU counts; `pid` None: nobody's."""

    name: str
    address: str
    pid: int | None


class Workload(NamedTuple):
    """`run(rung, scale)` makes the load; `without` names the rungs that cannot answer it, with the reason in the family's file."""

    name: str
    unit: str  # of the CPU figure: "us" per operation, "s/GB"
    run: Callable[[Rung, float], Done]
    without: frozenset[str] = frozenset()


class Target(NamedTuple):
    """A ratio that was promised, of `ours` to `theirs`; for what is added, their difference in seconds."""

    workload: str
    ours: str
    theirs: tuple[str, str]  # rung and workload: PgBouncer 1.18 has only the simple figure
    limit: float
    what: What = "cpu"

    @property
    def is_floor(self) -> bool:
        """Throughput must reach the limit; everything else must stay below it."""
        return self.what == "rate"


class Family(Protocol):
    """Started servers and proxies; everything is stopped when the stack is closed."""

    name: str
    workloads: list[Workload]
    targets: list[Target]

    def start(self, stack: ExitStack, scale: float) -> list[Rung]: ...


class Verdict(NamedTuple):
    target: Target
    ratio: Spread
    said: str


class Results:
    """Samples by workload and rung, one per round."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.samples: dict[tuple[str, str], list[Sample]] = {}

    def add(self, workload: Workload, rung: Rung, value: Sample) -> None:
        self.samples.setdefault((workload.name, rung.name), []).append(value)

    def rungs(self, workload: Workload) -> Iterable[tuple[str, Spread, Spread]]:
        """Rung, CPU per operation, operations per second."""
        for (name, rung), samples in self.samples.items():
            if name == workload.name:
                yield rung, Spread.of([one.cpu_s for one in samples]), Spread.of([one.per_second for one in samples])

    def ratio(self, workload: str, ours: str, theirs: tuple[str, str], what: What = "cpu") -> Spread | None:
        """Of our figure to theirs, or what ours adds; None when one of the two was not measured."""
        samples = self.samples.get((workload, ours)), self.samples.get((theirs[1], theirs[0]))
        if not all(samples):
            return None
        our, their = ([FIGURE[what](one) for one in found or []] for found in samples)
        return differences(our, their) if what == "added p50" else ratios(our, their)

    def verdicts(self) -> Iterable[Verdict]:
        for target in self.family.targets:
            found = self.ratio(target.workload, target.ours, target.theirs, target.what)
            if found is not None:
                yield Verdict(target, found, verdict(found, target.limit, at_least=target.is_floor))


def climb(family: Family, rungs: list[Rung], rounds: int, scale: float, tell: Callable[[str], None]) -> Results:
    """Every workload on every rung in every round; a first round, shorter and not counted, warms caches and pools."""
    results = Results(family)
    order = random.Random(1)
    for number in range(rounds + 1):
        tell(f"{family.name}: round {number} of {rounds}" if number else f"{family.name}: warming up")
        for workload in family.workloads:
            for rung in order.sample(rungs, len(rungs)):
                if rung.name not in workload.without:
                    settle(rung.pid)
                    value = sample(rung.pid, lambda: workload.run(rung, scale if number else scale / 10))  # noqa: B023
                    if number:
                        results.add(workload, rung, value)
    return results
