"""Whether those who try a change fare worse than the others: errors, refusals and latency of their load reports, listener by listener.

Looked at are the reports of the last `LOOKS` times, of intervals that began after the change was given. The baseline are the sidecars that do not try
it; where they have too little traffic to say, nothing is expected to fail.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xds.server.loads import Load, Loads

# At a report every half second: half a minute. Longer, and what was good before would hide what is bad now.
LOOKS = 60
# Fewer failures than this may be chance.
MIN_BAD = 3
# Fewer requests than this say nothing of latency, and make no baseline.
MIN_REQUESTS = 20
# Latencies below this are noise.
NOISE_S = 0.002
# A sidecar that is to be believed has reported so often since it has the change.
MIN_REPORTS = 2

Fares = dict[str, Load]  # by listener; of a client that is not ours, by cluster


@dataclass(frozen=True, slots=True)
class Gates:
    """How much worse than the baseline is too much."""

    errors: float = 1.0  # per cent of requests, more than the baseline's
    refusals: float = 1.0  # the same
    latency: float = 2.0  # times the baseline's mean

    def complaint(self, tried: Fares, others: Fares) -> str:
        """The first thing that is too much; "" for none."""
        for name, load in sorted(tried.items()):
            base = others.get(name, Load())
            found = (
                self._too_many("errors", self.errors, load, base)
                or self._too_many("refusals", self.refusals, load, base)
                or self._too_slow(load, base)
            )
            if found:
                return f"Listener {name}: {found}"
        return ""

    @staticmethod
    def _too_many(what: str, limit: float, load: Load, base: Load) -> str:
        bad = getattr(load, what)
        share, usual = _share(load, bad), _share(base, getattr(base, what)) if base.requests >= MIN_REQUESTS else 0.0
        if bad < MIN_BAD or share <= usual + limit:
            return ""
        kinds = ", ".join(f"{name.removeprefix('errors.')} {count:.0f}" for name, count in sorted(load.signals.items()) if name.startswith("errors."))
        return f"{what} are {share:.1f} % of the requests where it is tried, {usual:.1f} % elsewhere ({kinds})"

    def _too_slow(self, load: Load, base: Load) -> str:
        if load.timed < MIN_REQUESTS or base.timed < MIN_REQUESTS:
            return ""
        mean, usual = load.seconds / load.timed, base.seconds / base.timed
        if mean <= usual * self.latency + NOISE_S:
            return ""
        return f"a request takes {mean * 1000:.1f} ms where it is tried, {usual * 1000:.1f} ms elsewhere"


USUAL = Gates()


class Watch:
    """The fares of one step of a rollout."""

    def __init__(self, loads: Loads, now: float) -> None:
        self._loads = loads
        self._began = self._looked = now
        self._looks: deque[tuple[Fares, Fares]] = deque(maxlen=LOOKS)
        self._reports: dict[str, int] = {}

    def look(self, nodes: Iterable[str], is_tried: Callable[[str], bool], now: float) -> tuple[Fares, Fares]:
        """The sums of those who try it, and of the others."""
        tried: Fares = {}
        others: Fares = {}
        for node in nodes:
            into = tried if is_tried(node) else others
            for sample in reversed(self._loads.samples(node)):
                if sample.ended <= self._looked or sample.began < self._began:
                    break
                self._reports[node] = self._reports.get(node, 0) + 1
                _add(into, sample.loads)
        self._looked = now
        self._looks.append((tried, others))
        return _sum(tried for tried, _ in self._looks), _sum(others for _, others in self._looks)

    def is_due(self, every_s: float) -> bool:
        return monotonic() - self._looked >= every_s

    def has_reported(self, node: str) -> bool:
        return self._reports.get(node, 0) >= MIN_REPORTS


def monotonic() -> float:
    """The clock of the samples."""
    return time.monotonic()


def _share(load: Load, bad: float) -> float:
    """In per cent. Whether what is refused counts as a request differs between protocols."""
    return 100 * bad / max(load.requests, bad, 1)


def _add(into: Fares, loads: dict[tuple[str, str], Load]) -> None:
    for (cluster, listener), load in loads.items():
        into.setdefault(listener or cluster, Load()).add(load)


def _sum(fares: Iterable[Fares]) -> Fares:
    total: Fares = {}
    for one in fares:
        for name, load in one.items():
            total.setdefault(name, Load()).add(load)
    return total
