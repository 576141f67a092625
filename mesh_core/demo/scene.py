"""What a scene is: something done to a shop at work, and what was promised about it.

A new scene is one class in `scenes/` and its name in `scenes/__init__.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from mesh_core.lab import LabError

from .ledger import Ledger, Tally
from .objects import Rule
from .shop import Shop
from .stage import Stage

IN_FORCE_S = 1.0  # the promise: a pushed rule is in force on the sidecar within a second
EFFECT_DEADLINE_S = 15.0
LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Promise:
    """One checkable sentence, whether it was kept, and the figure behind it."""

    text: str
    kept: bool
    figure: str = ""


@dataclass
class Play:
    """What a scene has in its hands. `tell` shows one line of narration."""

    stage: Stage
    shop: Shop
    ledger: Ledger
    tell: Callable[[str], None]

    async def push(self, rule: Rule) -> Promise:
        """Applies a rule and waits for the sidecar's acknowledgement; the promise says how long that took."""
        started = time.monotonic()
        await self.stage.control.apply(rule)
        await self.stage.control.wait_acked(rule)
        took = time.monotonic() - started
        self.tell(f"$ midstream apply -f {rule.file}    in force after {1000 * took:.0f} ms")
        return Promise(f"{rule.kind} {rule.name} was in force within {IN_FORCE_S:g} s", took <= IN_FORCE_S, f"{1000 * took:.0f} ms")

    @contextlib.asynccontextmanager
    async def pushed(self, rule: Rule) -> AsyncIterator[Promise]:
        """A rule that holds inside the block only, also when the scene fails in it."""
        promise = await self.push(rule)
        try:
            yield promise
        finally:
            await self.withdraw(rule)

    async def withdraw(self, rule: Rule) -> None:
        await self.stage.control.delete(rule)
        self.tell(f"$ midstream delete {rule.kind} {rule.name}")

    async def watch(self, seconds: float) -> None:
        """Lets the shop work. The only waiting by the clock in the demo: it is the traffic that people came to see."""
        await asyncio.sleep(seconds)

    async def until(self, what: str, condition: Callable[[], bool | Awaitable[bool]]) -> float:
        """Waits for an effect that clients can see; returns the seconds it took. LabError after EFFECT_DEADLINE_S."""
        started = time.monotonic()
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return time.monotonic() - started
            if time.monotonic() - started > EFFECT_DEADLINE_S:
                raise LabError(f"{what}: not within {EFFECT_DEADLINE_S:g} s")
            await asyncio.sleep(LOOK_EVERY_S)

    async def works(self, operation: str) -> float:
        """Until the operation has succeeded once more."""
        before = self.ledger.tally(operation).done
        return await self.until(f"another success of {operation!r}", lambda: self.ledger.tally(operation).done > before)


class Scene(ABC):
    """`name` is for tables, `title` a sentence. `tolerated` are the beginnings of the names of operations whose
    troubles are the point of the scene.
    """

    name: str
    title: str
    tolerated: tuple[str, ...] = ()

    @abstractmethod
    async def act(self, play: Play) -> None:
        """Does it, and watches long enough to see what it did."""

    @abstractmethod
    async def promises(self, play: Play) -> list[Promise]:
        """What was promised, checked while the shop goes on working."""

    def unharmed(self, ledger: Ledger) -> list[Promise]:
        """The promise of every scene: whoever is not concerned did not notice."""
        bystanders = {name: tally for name, tally in ledger.here().items() if not self.tolerated or not name.startswith(self.tolerated)}
        worst = next((f"{name}: {tally.last_trouble}" for name, tally in bystanders.items() if tally.troubles), "")
        done = sum(tally.done for tally in bystanders.values())
        who = "everything else went on" if self.tolerated else "every operation succeeded"
        return [Promise(f"{who} without an error", not worst and done > 0, worst or f"{done} operations")]


def troubles(tally: Tally) -> int:
    return sum(tally.troubles.values())
