"""What the shop's clients saw: every operation, how long it took, and what went wrong, by scene."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

T = TypeVar("T")

Trouble = Literal["refused", "dropped", "late", "failed"]
"""refused: the server answered with an error of its protocol. dropped: the connection broke or could not be made.
late: no answer within the client's own deadline. failed: anything else, which is a bug somewhere."""

RECENT_S = 3.0  # what "now" means in the live table


@dataclass
class Tally:
    """One operation in one scene. Latencies are of the operations that succeeded, in seconds."""

    latencies: list[float] = field(default_factory=list)
    troubles: Counter[Trouble] = field(default_factory=Counter)
    last_trouble: str = ""
    last_trouble_at: float = 0.0

    @property
    def done(self) -> int:
        return len(self.latencies)

    def percentile_ms(self, percent: float) -> float:
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Ledger:
    """`classify` tells which trouble an exception is; clients differ in that, the ledger knows none of them."""

    def __init__(self, classify: Callable[[BaseException], Trouble]) -> None:
        self.scene = ""
        self.tallies: dict[str, dict[str, Tally]] = {}  # scene -> operation
        self._classify = classify
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def begin(self, scene: str) -> None:
        """From here on everything belongs to `scene`."""
        self.scene = scene
        self.tallies.setdefault(scene, defaultdict(Tally))

    async def record(self, operation: str, work: Awaitable[T]) -> tuple[T | None, Trouble | None]:
        """Awaits `work`; what it raised is counted, not raised. An operation belongs to the scene in which it ends."""
        started = time.monotonic()
        try:
            result = await work
        except Exception as error:
            return None, self._note(operation, error)
        now = time.monotonic()
        self.tallies[self.scene][operation].latencies.append(now - started)
        self._recent[operation].append(now)
        return result, None

    def tally(self, operation: str, scene: str | None = None) -> Tally:
        return self.tallies[scene or self.scene][operation]

    def here(self) -> dict[str, Tally]:
        """The operations of the scene that is on."""
        return self.tallies.get(self.scene, {})

    def rate(self, operation: str) -> float:
        """Successes per second, lately."""
        horizon = time.monotonic() - RECENT_S
        recent = self._recent[operation]
        while recent and recent[0] < horizon:
            recent.popleft()
        return len(recent) / RECENT_S

    def _note(self, operation: str, error: Exception) -> Trouble:
        trouble = self._classify(error)
        tally = self.tallies[self.scene][operation]
        tally.troubles[trouble] += 1
        tally.last_trouble = f"{type(error).__name__}: {error}"
        tally.last_trouble_at = time.monotonic()
        return trouble
