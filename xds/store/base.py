"""The interface of a store.

Every change has one revision, higher than all before it. A write says which revision its author saw, and fails when another came between: nobody
overwrites what they have not seen.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Key = tuple[str, str]  # kind, name

# Revisions that a store remembers; older ones are forgotten, but for what is still in force.
KEPT_REVISIONS = 10_000
# A store forgets at every that many writes.
COMPACT_EVERY = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as it was written: its value, the file it came from and the line of each of its paths."""

    kind: str
    name: str
    value: dict[str, Any]
    file: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    revision: int = 0  # of its last change

    @property
    def key(self) -> Key:
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything at one revision."""

    revision: int
    entries: Mapping[Key, Entry]


@dataclass(frozen=True, slots=True)
class Change:
    """One revision in the history. `removed` and `put` are the objects it touched."""

    revision: int
    at: float  # seconds since the epoch
    author: str
    reason: str
    put: tuple[Key, ...]
    removed: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain. Number 0: nothing yet."""

    number: int = 0
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    number: int
    body: str  # JSON, as it is sealed
    seal: str

    @property
    def head(self) -> Head:
        return Head(self.number, self.seal)

    @property
    def told(self) -> dict[str, Any]:
        """at, author, action, outcome, reason, revision, digest; nothing of a body that was made unreadable."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Log:
    """The records that are kept, and where they begin."""

    anchor: Head
    records: tuple[Record, ...]

    @property
    def head(self) -> Head:
        return self.records[-1].head if self.records else self.anchor


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """A change that was not made. `revision` is the one that it would have followed."""

    at: float
    author: str
    action: str
    reason: str
    revision: int


@dataclass(frozen=True, slots=True)
class Written:
    """What one revision wrote, as the store has it now."""

    change: Change
    puts: tuple[Entry, ...]


class Conflict(Exception):
    """Another change came between reading and writing; read again and decide again."""


class Gone(Exception):
    """A revision that is not kept any more, or is not there yet; the text says which ones are."""


class StoreFailed(Exception):
    """The store cannot do it: full, locked, read-only, damaged. Nothing was changed. The text says what to do."""


class Store(Protocol):
    async def read(self) -> Contents:
        """Raises StoreFailed."""

    async def write(self, puts: Iterable[Entry], deletes: Iterable[Key], *, expected: int, author: str, reason: str) -> int:
        """Make all of these changes or none, and return the new revision. Raises Conflict, StoreFailed."""

    async def wait(self, after: int) -> int:
        """Return the revision as soon as it is higher than `after`."""

    async def history(self, limit: int) -> list[Change]:
        """The latest changes, newest first."""

    async def at(self, revision: int) -> Contents:
        """Everything as it was after that revision; 0: nothing. Raises Gone, StoreFailed."""

    async def audit(self) -> Log:
        """What was changed and what was refused (audit.py); written with every change, in one step with it."""

    async def refuse(self, refusal: RefusedChange) -> Head:
        """Record that a change was not made."""

    async def written(self, revision: int) -> Written:
        """What that revision wrote. Raises Gone, StoreFailed."""

    async def close(self) -> None: ...


def no_such_revision(revision: int, oldest: int, newest: int) -> Gone:
    """The sentence for a revision outside of what is kept."""
    known = f"revisions {oldest} to {newest} are kept" if newest else "there is none yet"
    return Gone(f"there is no revision {revision}; {known}")
