"""CPU of a process, samples, and what may be said of them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Done(NamedTuple):
    """What a load generator did: operations (or GB), how many of them in a second by its own clock, and where it says so, what they took."""

    operations: float
    per_second: float
    p99_s: float = 0.0
    p50_s: float = 0.0


class Sample(NamedTuple):
    """One run of one workload on one rung; `cpu_s` is the proxy's CPU time per operation, 0 where there is no proxy."""

    cpu_s: float
    per_second: float
    p99_s: float = 0.0
    p50_s: float = 0.0


class Spread(NamedTuple):
    """Median and range over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


def sample(pid: int | None, work: Callable[[], Done]) -> Sample:
    """Runs `work` and gives the CPU time that process `pid` took for it."""
    before = cpu_s(pid)
    done = work()
    return Sample((cpu_s(pid) - before) / done.operations, done.per_second, done.p99_s, done.p50_s)


def cpu_s(pid: int | None) -> float:
    """CPU time of all threads of a process so far: nanoseconds from schedstat, clock ticks where the kernel has none."""
    if pid is None:
        return 0.0
    threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def ratios(ours: list[float], theirs: list[float]) -> Spread:
    """Of the samples of each round."""
    return Spread.of([our / their for our, their in zip(ours, theirs, strict=True)])


def differences(ours: list[float], theirs: list[float]) -> Spread:
    """The same, of what ours takes more."""
    return Spread.of([our - their for our, their in zip(ours, theirs, strict=True)])


def verdict(ratio: Spread, limit: float, *, at_least: bool = False) -> str:
    """Whether the whole range is on one side of the limit."""
    inside = [(value >= limit) if at_least else (value <= limit) for value in ratio]
    if all(inside):
        return "pass"
    return "not separated" if any(inside) else "misses"


def settle(pid: int | None, quiet_s: float = 0.05, deadline_s: float = 5.0) -> None:
    """Waits until a process has done with the clients of the run before: under 2 % of a core for `quiet_s`."""
    end = time.monotonic() + deadline_s
    while pid is not None and time.monotonic() < end:
        before = cpu_s(pid)
        time.sleep(quiet_s)
        if cpu_s(pid) - before < quiet_s * 0.02:
            return
