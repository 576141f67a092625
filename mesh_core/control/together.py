"""Changes that must not be mixed, as of sharding or routes: some sidecars sending a key to one server and others to another would lose writes.

    given to all as `Prepared` -> every sidecar has checked it and says so -> stored, and in force by one push
                               | one refuses it, or does not answer in time
                               +-> taken back: nothing was stored, and nobody has changed anything

Whoever joins meanwhile is given the old and the preparation, and is waited for as well. Whoever was there when it began and has lost its stream is
waited for, too: it may be serving still.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mesh_core.compile.blame import Blame
from mesh_core.compile.compiler import Configuration
from mesh_core.model.problem import Invalid, Problem
from xds.protocol.prepared import PREPARED, prepared, resource_at
from xds.protocol.report import Refused
from xds.protocol.resource import Resource, Snapshot
from xds.protocol.stream import Verdict
from xds.server.hub import Connection, Hub
from xds.server.status import State, resource_state

# A sidecar answers in some ten milliseconds; for longer than this nobody wants to wait, and what waits behind it neither.
PREPARE_S = 10.0
# Whoever comes back may have answered before, and says nothing more.
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Phases:
    """How a change is made: in two phases even where its kinds do not ask for that; and how long the first may take."""

    together: bool = False
    within_s: float = PREPARE_S


AS_THE_KINDS_SAY = Phases()


class Unprepared(Exception):
    """A sidecar has not answered; nothing was changed."""


async def prepare(hub: Hub, before: Configuration, after: Configuration, within_s: float) -> None:
    """Returns when all sidecars can make the change: it stays prepared until `Hub.flip`. Raises Unprepared, Invalid: then it is taken back."""
    awaited = {node for node, _ in _able(hub)}
    if not awaited:
        return
    change = prepared(time.time_ns(), Snapshot(before.resources), Snapshot(after.resources))
    heard: set[str] = set()
    answered = asyncio.Event()

    def hear(node: str, verdict: Verdict) -> None:
        if verdict.type_url == PREPARED:
            heard.add(node)
            answered.set()

    stop = hub.on_verdict(hear)
    hub.prepare(change)
    late = awaited
    try:
        async with asyncio.timeout(within_s):
            while late := (late - heard) or _late(hub, awaited, change):
                if problems := [_problem(after.blame, change, node, refused) for node, refused in _refusals(hub, heard, change)]:
                    raise Invalid(problems)
                heard.clear()
                if not await _within(answered, LOOK_EVERY_S):
                    late = set()
    except TimeoutError as error:
        names = sorted(_late(hub, awaited, change) or awaited)
        hub.prepare(None)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise Unprepared(f"{names[0]}{more} did not say within {within_s:g} s that it can make this change; nothing was changed") from error
    except BaseException:
        hub.prepare(None)
        raise
    finally:
        stop()


async def _within(answered: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await answered.wait()
    except TimeoutError:
        return False
    answered.clear()
    return True


def _able(hub: Hub) -> Iterator[tuple[str, Connection]]:
    """Those who know what a preparation is and are there."""
    return ((node, found) for node, found in hub.nodes.items() if found.open and PREPARED in found.stream.types)


def _late(hub: Hub, awaited: set[str], change: Resource) -> set[str]:
    """Who has not acknowledged it; whoever joins meanwhile is awaited, too."""
    able = dict(_able(hub))
    awaited |= able.keys()
    return {node for node in awaited if node not in able or resource_state(able[node], change).state is not State.ACKED}


def _refusals(hub: Hub, heard: set[str], change: Resource) -> Iterator[tuple[str, Refused]]:
    for node in sorted(heard):
        state = hub.nodes[node].stream.types.get(PREPARED) if node in hub.nodes else None
        refused = state.refused.get(change.name) if state is not None else None
        if refused is not None and refused.version == change.version:
            yield node, refused


def _problem(blame: Blame, change: Resource, node: str, refused: Refused) -> Problem:
    where = resource_at(change.value, refused.field)
    reason = f"{node} cannot make this change: {refused.reason}"
    if where is None:
        return Problem("", 0, "", "", "", reason)
    return blame.problem(Refused(where[0], where[1], refused.version, where[2], reason))
