"""What a family adds to the shared halves. The command line calls each family's ``register`` once; nobody else imports them."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from xds.protocol.client import Held, Key

if TYPE_CHECKING:
    import typer

    from mesh_core.model.kinds import Kinds


class UpcallHandler(Protocol):
    """Answers the questions of parked sessions, of one topic. Lives in the sidecar's asyncio loop."""

    def configure(self, resources: Iterable[Held]) -> None:
        """What is in force now; called before the first question and after every change."""

    async def answer(self, body: bytes) -> bytes:
        """The answer to one question, a message of the topic. An exception is logged, and the session gets its family's error."""

    async def close(self) -> None:
        """Ends what it has open."""


class Prober(Protocol):
    """Looks after the back ends of one family. Lives in the asyncio loop of a control plane, or of a sidecar without one."""

    def configure(self, resources: Iterable[Held]) -> None:
        """What is configured; called before the first look and after every change."""

    async def look(self) -> dict[Key, Held]:
        """One round: the resources that are to be in force instead of the configured ones. Raises nothing."""

    async def close(self) -> None:
        """Ends what it has open."""


class Registry:
    """The kinds of objects and listeners, and who answers which topic of upcalls.

    A handler is made when its resources come: a Redis-only sidecar imports no SQL planner, and the first statement does not wait for it.
    Nor are the models of objects imported by a sidecar that is given resources.
    """

    def __init__(self) -> None:
        self._objects: list[Callable[[Kinds], None]] = []
        self._makers: dict[str, Callable[[], UpcallHandler]] = {}
        self._needed_by: dict[str, str] = {}
        self._probers: dict[str, Callable[[], Prober]] = {}
        self._reported: dict[str, str] = {}
        self.commands: list[Callable[[typer.Typer], None]] = []

    def objects(self, add: Callable[["Kinds"], None]) -> None:
        """Registers what adds a family's objects and listener protocols."""
        self._objects.append(add)

    @cached_property
    def kinds(self) -> "Kinds":
        """All that can be authored."""
        from mesh_core.compile.builtin import kinds

        found = kinds()
        for add in self._objects:
            add(found)
        return found

    def command(self, add: Callable[["typer.Typer"], None]) -> None:
        """Registers what adds a family's own verbs to the command line."""
        self.commands.append(add)

    def report(self, prefix: str, needed_by: str) -> None:
        """Registers metrics, by what their names begin with, that a sidecar tells its control plane while it has such resources (a type URL)."""
        self._reported[needed_by] = prefix

    def reported(self, resources: Iterable[Held]) -> tuple[str, ...]:
        """What the names of metrics begin with that are told while these resources are in force."""
        types = {held.type_url for held in resources}
        return tuple(prefix for needed, prefix in self._reported.items() if needed in types)

    def prober(self, make: Callable[[], Prober], needed_by: str) -> None:
        """Registers the maker of what looks after the back ends of these resources (a type URL)."""
        self._probers[needed_by] = make

    def probers(self, resources: Iterable[Held]) -> dict[str, Callable[[], Prober]]:
        """The makers that these resources need, by type URL."""
        types = {held.type_url for held in resources}
        return {needed: make for needed, make in self._probers.items() if needed in types}

    def upcall(self, topic: str, make: Callable[[], UpcallHandler], needed_by: str) -> None:
        """Registers the maker of a topic's handler. Raises ValueError when the topic has one.

        :param needed_by: the type URL of the resources whose presence makes the questions come.
        """
        if topic in self._makers:
            raise ValueError(f"two families answer upcalls of topic {topic!r}")
        self._makers[topic] = make
        self._needed_by[topic] = needed_by

    def topics(self, resources: Iterable[Held]) -> set[str]:
        """The topics that these resources make questions of."""
        types = {held.type_url for held in resources}
        return {topic for topic, needed in self._needed_by.items() if needed in types}

    def make(self, topic: str) -> UpcallHandler | None:
        """A new handler; ``None`` for a topic nobody answers."""
        maker = self._makers.get(topic)
        return maker() if maker else None
