"""A change that is tried on some sidecars before all have it.

    tried on the first cohort -> all of it acknowledged -> held -> the next cohort ... -> stored, and so in force everywhere
                 | refused, not answered, faring worse than the others (gates.py), aborted, changed elsewhere
                 +-> taken back: the cohort is given again what all others have

A rollout lives in the control plane that was asked for it. Nothing is stored before its end, so when that control plane dies, the cohort goes
back at its next connection.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

import structlog
from google.protobuf.message import Message

from mesh_core.compile.blame import Blame, authored_path
from mesh_core.control.gates import Gates, Watch, monotonic
from xds.server.hub import Connection, Hub
from xds.server.status import ResourceState, State, resource_states
from xds.store.base import Key

log = structlog.get_logger("midstream.control")

# A sidecar answers in milliseconds; one that hangs does not hold a rollout up for ever.
ANSWER_S = 30.0
LOOK_EVERY_S = 0.1
MAX_STEPS = 20
# Where it is judged by load reports, sidecars are looked at so often, and one that has never reported is waited for so long.
GATE_EVERY_S = 0.5
REPORT_S = 5.0


class Phase(StrEnum):
    TRYING = "trying"
    PAUSED = "paused"
    DONE = "done"
    TAKEN_BACK = "taken back"


class Failed(Exception):
    """It is taken back, and why."""


def unknown(node: str) -> Message | None:
    return None


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the sidecars: the first so many per cent of them in the order of their names' hashes, those of a zone or with a label, or those with
    names like this."""

    text: str  # "25%", "zone:eu-1", "label:tier=canary", or a pattern like "shop-1*"

    def __post_init__(self) -> None:
        if self.text.endswith("%") and not (self.text[:-1].isdecimal() and 1 <= int(self.text[:-1]) <= 100):
            raise ValueError(f"{self.text!r} is no part of the sidecars; write 1% to 100%, or a pattern of their names")
        if self.text.startswith("label:") and "=" not in self.text:
            raise ValueError(f"{self.text!r} is no part of the sidecars; write label:KEY=VALUE")

    def cohort(self, connected: list[str], known: Callable[[str], Message | None] = unknown) -> Callable[[str], bool]:
        """Who belongs to it, with those in mind that are connected now: one at least. `known` is what a node has told of itself."""
        how, colon, what = self.text.partition(":")
        if colon and how in _TOLD:
            return lambda node: (found := known(node)) is not None and _TOLD[how](found, what)
        if not self.text.endswith("%"):
            return lambda node: fnmatchcase(node, self.text)
        if self.text == "100%":
            return lambda node: True
        hashes = sorted(map(_hash, connected))
        last = hashes[max(0, -(-len(hashes) * int(self.text[:-1]) // 100) - 1)] if hashes else -1
        return lambda node: _hash(node) <= last


@dataclass(slots=True)
class Rollout:
    """One trial. `commit` stores the change and returns its revision; `try_out` gives it to a cohort, `take_back` to nobody any more."""

    hub: Hub
    blame: Blame
    steps: tuple[Step, ...]
    hold_s: float
    author: str
    keys: tuple[Key, ...]
    try_out: Callable[[Callable[[str], bool]], None]
    take_back: Callable[[], None]
    commit: Callable[[], Awaitable[int]]
    gates: Gates | None = None
    phase: Phase = Phase.TRYING
    step: int = 0
    reason: str = ""
    revision: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _abort: str = ""
    _hurry: bool = False
    _cohorts: list[Callable[[str], bool]] = field(default_factory=list)

    async def run(self) -> None:
        """To its end, whichever that is."""
        try:
            with self.hub.loads.wanted() if self.gates else nullcontext():
                for number, step in enumerate(self.steps):
                    self.step = number
                    if self._hurry:
                        break
                    await self._try(step)
            self.revision = await self.commit()
            self.phase = Phase.DONE
            log.info("rollout done", revision=self.revision)
        except asyncio.CancelledError:
            self._back("the control plane stopped")
            raise
        except Exception as error:
            self._back(str(error))

    async def _try(self, step: Step) -> None:
        self._cohorts.append(step.cohort([node for node, found in self.hub.nodes.items() if found.open], self.hub.node))
        log.info("rollout", step=step.text, sidecars=len(list(self._tried())))
        self.try_out(self._is_tried)
        await self._hold()

    def _is_tried(self, node: str) -> bool:
        return any(cohort(node) for cohort in self._cohorts)

    def pause(self, paused: bool) -> None:
        if self.is_under_way:
            self.phase = Phase.PAUSED if paused else Phase.TRYING
            self._woken.set()

    def abort(self, reason: str) -> None:
        self._abort = reason
        self._woken.set()

    def promote(self) -> None:
        """To all at once, without holding any longer."""
        self._hurry = True
        self.pause(False)

    @property
    def is_under_way(self) -> bool:
        return self.phase in (Phase.TRYING, Phase.PAUSED)

    def as_json(self) -> dict:
        tried = sorted(node for node, _ in self._tried()) if self.is_under_way else []
        steps = [step.text for step in self.steps]
        return {"phase": self.phase, "steps": steps, "step": self.step, "author": self.author, "sidecars": tried, "reason": self.reason} | {
            "revision": self.revision
        }

    async def _hold(self) -> None:
        """Until all that try it have acknowledged it, and then for the time that was asked for. Raises Failed."""
        loop = asyncio.get_running_loop()
        asked, held_since = loop.time(), None
        watch = Watch(self.hub.loads, monotonic())
        while True:
            self._woken.clear()
            if self._abort:
                raise Failed(self._abort)
            waits = [node for node, connection in self._tried() if not self._has_answered(node, connection)]
            now = loop.time()
            waits += self._unjudged(watch, now - asked)
            if waits and now - asked > ANSWER_S:
                raise Failed(f"{waits[0]} has not answered within {ANSWER_S:.0f} s")
            if not waits and self.phase is Phase.TRYING:
                asked, held_since = now, now if held_since is None else held_since
                if self._hurry or now - held_since >= self.hold_s:
                    return
            try:
                await asyncio.wait_for(self._woken.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    def _unjudged(self, watch: Watch, for_s: float) -> list[str]:
        """Whose load reports are still to come; a sidecar that sends none is not waited for. Raises Failed where they are bad."""
        if self.gates is None or self._hurry:
            return []
        if watch.is_due(GATE_EVERY_S):
            nodes = [node for node, found in self.hub.nodes.items() if found.open]
            if complaint := self.gates.complaint(*watch.look(nodes, self._is_tried, monotonic())):
                raise Failed(complaint)
        late = for_s > REPORT_S
        return [node for node, _ in self._tried() if not watch.has_reported(node) and not (late and not self.hub.loads.reports(node))]

    def _has_answered(self, node: str, connection: Connection) -> bool:
        """Raises Failed where it was refused."""
        done = True
        for state in resource_states(self.hub, connection):
            if state.state in (State.NACKED, State.QUARANTINED):
                raise Failed(f"{node} refused {self._blamed(state)}")
            done = done and state.state is State.ACKED
        return done

    def _blamed(self, state: ResourceState) -> str:
        item = self.blame.owner(state.type_url, state.name)
        if item is None:
            return f"{state.name}: {state.reason}"
        return str(item.owner.problem(authored_path(item, state.field), state.reason))

    def _tried(self) -> Iterator[tuple[str, Connection]]:
        nodes = ((node, found) for node, found in self.hub.nodes.items() if found.open)
        return ((node, found) for node, found in nodes if self._is_tried(node))

    def _back(self, reason: str) -> None:
        self.take_back()
        self.phase, self.reason = Phase.TAKEN_BACK, reason
        log.warning("rollout taken back", step=self.steps[self.step].text, reason=reason)


def _has_label(node: Message, label: str) -> bool:
    key, _, value = label.partition("=")
    return key in node.metadata.fields and node.metadata.fields[key].string_value == value


# What a sidecar tells of itself that a part can be made of.
_TOLD: dict[str, Callable[[Message, str], bool]] = {
    "zone": lambda node, zone: node.locality.zone == zone,
    "label": _has_label,
}


def _hash(node: str) -> int:
    return zlib.crc32(node.encode())
