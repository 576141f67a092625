"""One walk over all keys of two clusters: the backfill, the comparison, and its repairs.

    source: SCAN of every master ──keys──> both sides read ──same──> next
    target: SCAN, for what only it has        └─different─> told, or copied: put, and the source read again until that is what was put

The last to put a key has seen that it had not changed since (as the sidecars do, who copy what is written meanwhile): so neither undoes what the
other did, however they interleave.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cache_mesh.migrate.servers import Cluster, Failed, Place
from cache_mesh.migrate.values import Value, content, is_same, read, surely_differs

SCAN_COUNT = 100
# Keys that are read together: with values of 10 KB, a megabyte from each side.
BATCH = 50
# A key that is written all the time is put again so often before it is left to the next walk.
PUTS = 50
# What a sidecar copies is at the other side within milliseconds: a difference that lasts so long, while the source does not change, is one.
LASTS_S = 1.0
LOOK_AGAIN_S = 0.02
# A key that changes at the source all the time is looked at so long.
BUSY_S = 10.0
SHOWN = 20
# What sidecars keep in a cluster for a moment (claims of elements that move between slots); it means nothing in another.
OURS = b"midstream:{"


@dataclass
class Result:
    """What a walk has seen; `differences` are the first few."""

    seen: int = 0
    copied: int = 0
    different: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Both sides were the same, and nothing was put."""
        return not self.copied and not self.different

    def differs(self, key: bytes, how: str) -> None:
        self.different += 1
        if len(self.differences) < SHOWN:
            self.differences.append(f"{key.decode(errors='backslashreplace')} {how}")


# Where a walk is: by master, its next cursor, or None when it is through; and for which layout of slots.
Cursors = dict[str, int | None]
Progress = Callable[[Result, Cursors, Any], Awaitable[None]]


class Mode(Enum):
    BACKFILL = "what differs is copied at once, as most does"
    COMPARE = "what differs, and is not just being copied by a sidecar, is told"
    REPAIR = "what differs, and is not just being copied by a sidecar, is copied"


class Walk:
    """`rate`: keys a second at most."""

    def __init__(self, source: Cluster, target: Cluster, prefixes: list[str], mode: Mode, rate: int, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._patterns: list[bytes | None] = [_pattern(prefix.encode()) for prefix in prefixes] or [None]
        self._mode = mode
        self._rate = rate
        self._progress = progress
        self._cursors: Cursors = {}
        self._began = time.monotonic()
        self._walked = 0
        self.result = Result()

    async def run(self, cursors: Cursors, layout: Any) -> Result:
        """From where an earlier one stopped, if slots are still where they were. Raises Failed."""
        for side in ("source", "target"):
            cluster = self._source if side == "source" else self._target
            while True:
                before = cluster.layout
                if side == "source":
                    self._cursors = dict(cursors) if layout == before else {}
                await self._side(side, cluster, before)
                await cluster.look()
                if cluster.layout == before:
                    break
                # A slot may have gone from a master not yet walked to one that was: all is walked again, which is cheap where it is the same.
                self._cursors = {name: cursor for name, cursor in self._cursors.items() if not name.startswith(side)}
                cursors = {}
        return self.result

    async def _side(self, side: str, cluster: Cluster, layout: Any) -> None:
        walks = [self._master(side, cluster, master, pattern, layout) for master in cluster.masters for pattern in self._patterns]
        try:
            async with asyncio.TaskGroup() as tasks:
                for walk in walks:
                    tasks.create_task(walk)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _master(self, side: str, cluster: Cluster, master: Place, pattern: bytes | None, layout: Any) -> None:
        name = f"{side} {master[0]}:{master[1]} {(pattern or b'').decode(errors='backslashreplace')}".rstrip()
        cursor = self._cursors.get(name, 0)
        while cursor is not None:
            following, keys = await cluster.scan(master, cursor, pattern, SCAN_COUNT)
            keys = [key for key in dict.fromkeys(keys) if not key.startswith(OURS)]
            for at in range(0, len(keys), BATCH):
                await self._pace(len(keys[at : at + BATCH]))
                await self._visit(side, keys[at : at + BATCH])
            cursor = following or None
            self._cursors[name] = cursor
            await self._progress(self.result, self._cursors, layout)

    async def _pace(self, keys: int) -> None:
        self._walked += keys
        ahead = self._walked / self._rate - (time.monotonic() - self._began)
        if ahead > 0:
            await asyncio.sleep(ahead)

    async def _visit(self, side: str, keys: list[bytes]) -> None:
        here, there = await asyncio.gather(read(self._source, keys), read(self._target, keys))
        if side == "target":
            # What the source has was looked at there.
            both = [(key, one, other) for key, one, other in zip(keys, here, there, strict=True) if one.dump is None and other.dump is not None]
        else:
            self.result.seen += len(keys)
            both = [(key, one, other) for key, one, other in zip(keys, here, there, strict=True) if not is_same(one, other)]
        if self._mode is Mode.BACKFILL:
            await self._copy({key: one for key, one, other in both if surely_differs(one, other) or not await self._holds_same(key)})
            return
        for key, one, _ in both:
            how = await self._difference(key)
            if how and self._mode is Mode.REPAIR:
                await self._copy({key: one})
            elif how:
                self.result.differs(key, how)

    async def _copy(self, wanted: dict[bytes, Value]) -> None:
        self.result.copied += len(wanted)
        for _ in range(PUTS):
            if not wanted:
                return
            for (key, _), answer in zip(wanted.items(), await self._target.run([value.put(key) for key, value in wanted.items()]), strict=True):
                if isinstance(answer, Exception):
                    raise Failed(f"RedisCluster {self._target.name} does not take {key!r}: {answer}")
            after = dict(zip(wanted, await read(self._source, list(wanted)), strict=True))
            wanted = {key: value for key, value in after.items() if value != wanted[key]}
        for key in wanted:
            self.result.differs(key, "is written so often that it could not be copied; the walk has to be repeated")

    async def _difference(self, key: bytes) -> str:
        """How a key differs, if that lasts: what was just written is being copied."""
        began = since = time.monotonic()
        last: Value | None = None
        seen: set[Value] = set()
        while True:
            (before,), (there,) = await read(self._source, [key]), await read(self._target, [key])
            (after,) = await read(self._source, [key])
            if is_same(before, there) or is_same(after, there):
                return ""
            how = surely_differs(after, there)
            if not how and before == after and await self._holds_same(key):
                return ""
            now = time.monotonic()
            seen.add(there)
            if not before == after == last:
                last, since = after, now
            elif now - since >= LASTS_S:
                return how or "has another value"
            if now - began >= BUSY_S:
                # It is written all the time; if the other side follows, it is copied each time, and the last time too.
                return "" if len(seen) > 1 else "does not change as it does at the source"
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _holds_same(self, key: bytes) -> bool:
        here, there = await asyncio.gather(content(self._source, key), content(self._target, key))
        return here == there


def _pattern(prefix: bytes) -> bytes:
    """What SCAN's MATCH takes for a prefix."""
    special = b"*?[]\\"
    return b"".join(b"\\" + bytes([byte]) if byte in special else bytes([byte]) for byte in prefix) + b"*"
