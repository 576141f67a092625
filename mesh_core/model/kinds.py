"""The kinds of objects and the protocols of listeners. Families register theirs; nothing here names one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from mesh_core.model.problem import Problem
from mesh_core.model.source import Document
from mesh_core.model.values import Spec

API_VERSION = "midstream/v1"


@dataclass(frozen=True, slots=True, eq=False)
class Authored:
    """One object as its author wrote it (`document`) and as its kind understands it (`spec`)."""

    kind: str
    name: str
    spec: Any  # the kind's Spec
    document: Document
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.name)

    def problem(self, path: str, reason: str, advice: str = "") -> Problem:
        """A complaint about a field of this object."""
        return Problem(self.document.file, self.document.line_of(path), self.kind, self.name, path, reason, advice)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class World:
    """All objects that are to be valid together, by kind and name."""

    def __init__(self, objects: Iterable[Authored]):
        self._objects = {found.key: found for found in objects}
        self._by_kind: dict[str, list[Authored]] = {}
        for found in self._objects.values():
            self._by_kind.setdefault(found.kind, []).append(found)

    def get(self, kind: str, name: str) -> Authored | None:
        return self._objects.get((kind, name))

    def all(self, kind: str) -> list[Authored]:
        return self._by_kind.get(kind, [])

    def names(self, kind: str) -> list[str]:
        return [found.name for found in self.all(kind)]

    @property
    def kinds(self) -> set[str]:
        """Those of which there is an object."""
        return set(self._by_kind)

    def __iter__(self) -> Iterator[Authored]:
        return iter(self._objects.values())


@dataclass(frozen=True, slots=True)
class Compiled:
    """One resource, and whom to blame for it. `base` is the path in the owner that the resource as a whole stands for."""

    type_url: str
    name: str
    message: Message
    owner: Authored
    base: str = "spec"


@dataclass(frozen=True, slots=True)
class Kind:
    """`check` looks at one object in its world; the shape is already right. `compile` is called only where all checks passed."""

    name: str
    spec: type[Spec]
    check: Callable[[Authored, World], Iterable[Problem]]
    compile: Callable[[Authored, World], Iterable[Compiled]]
    together: bool = False  # sidecars with the old and with the new must not serve at the same time: see mesh_core/control/together.py


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a listener may speak. `fields` are the optional fields of a Listener that mean something to it."""

    name: str
    backend: str  # a kind
    fields: frozenset[str]
    filter: Callable[[Authored, World], Message]  # the typed_config of the listener's only filter
    check: Callable[[Authored, World], Iterable[Problem]] = lambda listener, world: ()
    also: tuple[str, ...] = ()  # further kinds that a backend may be
    auths: frozenset[str] = frozenset()  # what `auth` may be
    throttles: bool = False  # RateLimits that throttle are taken


class Kinds:
    """What can be authored."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.protocols: dict[str, Protocol] = {}

    def add(self, kind: Kind) -> None:
        """Raises ValueError when the kind is taken."""
        if kind.name in self.kinds:
            raise ValueError(f"two families define the kind {kind.name}")
        self.kinds[kind.name] = kind

    def add_protocol(self, protocol: Protocol) -> None:
        """Raises ValueError when the protocol is taken."""
        if protocol.name in self.protocols:
            raise ValueError(f"two families define the listener protocol {protocol.name}")
        self.protocols[protocol.name] = protocol
