"""What is measured, one function each."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.bench.xds.fleet import Fleet, Sidecar
from tests.bench.xds.server import Server, objects, service, services

_CHANGES = 10
_IDLE_S = 10.0
_BURST_S = 10
_BURST_PER_S = 1000
# Objects of one `apply` in the burst.
_BURST_SET = 100
_DEADLINE_S = 300.0


class Figure(NamedTuple):
    """`target` is the most it may be; None: it is shown for itself."""

    what: str
    value: float
    unit: str
    target: float | None = None


class Bench:
    """A filled control plane and its sidecars, which connect in the first phase."""

    def __init__(self, server: Server, sidecars: int, resources: int) -> None:
        self.server, self.count, self.resources = server, sidecars, resources
        self.server.apply(objects(resources))
        self.services = services(resources)
        self.fleet = Fleet(server.address, server.client_tls)
        self._port = 5432

    def change(self, count: int, first: int = 0) -> None:
        """Change so many objects by one apply; one resource each."""
        self._port = 1024 + (self._port + 1) % 60_000
        self.server.apply([service((first + number) % self.services, self._port) for number in range(count)])

    def meanwhile(self, work: Callable[[], None]) -> None:
        """The fleet goes on while something is done beside it."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.fleet.run(lambda: not thread.is_alive(), _DEADLINE_S)

    def all_at(self, version: str) -> Callable[[], bool]:
        """Whether every sidecar holds exactly that set. Those that do are looked at once more when all do."""
        left: list[Sidecar] = []

        def reached() -> bool:
            while left and left[-1].open and left[-1].holds(version):
                left.pop()
            if left and left[-1].open:
                return False
            left[:] = [sidecar for sidecar in self.fleet.sidecars.values() if not sidecar.holds(version)]
            return not left and len(self.fleet.sidecars) == self.count

        return reached


def connect(bench: Bench) -> list[Figure]:
    """All sidecars come at once, with nothing."""
    server, fleet = bench.server, bench.fleet
    before_kib, before_s, began = server.memory_kib(), server.cpu_s, time.monotonic()
    fleet.grow(bench.count)
    fleet.run(lambda: not fleet.is_connecting, _DEADLINE_S)
    fleet.run(bench.all_at(server.version()), _DEADLINE_S)
    took = max(sidecar.synced_at for sidecar in fleet.sidecars.values()) - began
    fleet.pump(2)
    peak, steady = server.memory_kib("VmHWM"), server.memory_kib()
    return [
        Figure("cold connects, all synced", took, "s", 15),
        Figure("cold connects, CPU of the control plane", (server.cpu_s - before_s) / bench.count * 1000, "ms per sidecar"),
        Figure("cold connects, sent", fleet.received_bytes / bench.count / 1024, "KiB per sidecar"),
        Figure("memory", (steady - before_kib) / bench.count, "KiB per sidecar", 80),
        Figure("memory at its peak", (peak - before_kib) / bench.count, "KiB per sidecar"),
        Figure("streams lost", len(fleet.lost), "", 0),
    ]


def idle(bench: Bench) -> list[Figure]:
    bench.fleet.pump(2)
    before = bench.server.cpu_s
    bench.fleet.pump(_IDLE_S)
    return [Figure("idle", (bench.server.cpu_s - before) / _IDLE_S * 100, "% of a core", 1)]


def change(bench: Bench) -> list[Figure]:
    """One object is applied over REST; from the request to the ACK of each sidecar."""
    took, cpu, first = [], [], []
    for number in range(_CHANGES):
        before = bench.server.cpu_s
        began = time.monotonic()
        bench.meanwhile(partial(bench.change, 1, number))
        bench.fleet.run(bench.all_at(bench.server.version()), _DEADLINE_S)
        times = sorted(sidecar.acked_at - began for sidecar in bench.fleet.sidecars.values())
        took += times
        first.append(times[0])
        bench.fleet.pump(0.5)
        cpu.append((bench.server.cpu_s - before) / bench.count * 1e6)
    took.sort()
    return [
        Figure("one change, acknowledged, 99th percentile", took[len(took) * 99 // 100], "s", 1.0),
        Figure("one change, acknowledged, median", took[len(took) // 2], "s"),
        Figure("one change, by the first sidecar", sorted(first)[len(first) // 2], "s"),
        Figure("one change, CPU of the control plane", sorted(cpu)[len(cpu) // 2], "us per sidecar"),
    ]


def burst(bench: Bench) -> list[Figure]:
    """Changes in sets, for some seconds; then all must hold what was applied last."""
    late: list[float] = []

    def apply() -> None:
        began = time.monotonic()
        for number in range(_BURST_S * _BURST_PER_S // _BURST_SET):
            at = began + number * _BURST_SET / _BURST_PER_S
            time.sleep(max(0.0, at - time.monotonic()))
            bench.change(_BURST_SET, number * _BURST_SET)
            late.append(time.monotonic() - at)

    responses, before, began = bench.fleet.responses, bench.server.cpu_s, time.monotonic()
    bench.meanwhile(apply)
    took = time.monotonic() - began
    settled = bench.fleet.run(bench.all_at(bench.server.version()), _DEADLINE_S)
    pushes = (bench.fleet.responses - responses) / bench.count / (took + settled)
    return [
        Figure(f"{_BURST_PER_S * _BURST_S} changes, applied", took, "s", _BURST_S * 1.1),
        Figure("burst, all at the last version afterwards", settled, "s", 1.5),
        Figure("burst, responses", pushes, "/s per sidecar", 5),
        Figure("burst, CPU of the control plane", (bench.server.cpu_s - before) / (took + settled) * 100, "% of a core"),
        Figure("streams lost", len(bench.fleet.lost), "", 0),
    ]


PHASES: dict[str, Callable[[Bench], list[Figure]]] = {"connect": connect, "idle": idle, "change": change, "burst": burst}
