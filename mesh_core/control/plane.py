"""The control plane's one decision: may this set of objects replace that one?

    documents -> schema -> references -> resources -> the data plane's own validator -> store -> every sidecar

Whatever fails on the way, nothing of the set is stored and no sidecar hears of it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from mesh_core.compile.blame import Blame, Refusal
from mesh_core.compile.compiler import Configuration, Result, compile_one, configuration_of
from mesh_core.control.changes import Difference, ResourceChange, differences, ended_clients, resource_changes
from mesh_core.control.directory import entry_of
from mesh_core.control.gates import Gates
from mesh_core.control.rollout import Rollout, Step
from mesh_core.control.together import AS_THE_KINDS_SAY, Phases, prepare
from mesh_core.model.check import check_one
from mesh_core.model.kinds import Authored, Kinds, World
from mesh_core.model.memo import Memo
from mesh_core.model.objects import parse, parse_one
from mesh_core.model.problem import Invalid, Problem
from mesh_core.model.source import Document, read
from xds.protocol.resource import Resource
from xds.server.hub import Hub
from xds.store.base import Conflict, Contents, Entry, Key, Store, StoreFailed

log = structlog.get_logger("midstream.control")

# Raises where whoever asks may not make this change.
Permit = Callable[["Applied"], None]
Validate = Callable[[list[tuple[str, str, str, bytes]]], Sequence[Refusal]]

# A store that cannot be read is asked again after this.
RETRY_S = 1.0
# A change that others' changes keep coming before is decided so often, with a pause of up to this; one decision takes some 20 ms.
ATTEMPTS = 10
ANEW_WITHIN_S = 0.05


def permit_all(applied: "Applied") -> None:
    """For those who are asked by nobody but themselves."""


def believe(resources: list[tuple[str, str, str, bytes]]) -> Sequence[Refusal]:
    """A validator that refuses nothing, for a control plane without the data plane's extension."""
    return ()


class Observer(Protocol):
    """Lays what is seen of back ends over what is configured."""

    def resources(self, configuration: Configuration) -> Iterable[Resource]:
        """Of the configuration that is in force from now on."""

    def tried(self, configuration: Configuration | None) -> Iterable[Resource]:
        """Of one that some sidecars try; None: no longer."""


class AsConfigured:
    """For a control plane that does not look after back ends."""

    def resources(self, configuration: Configuration) -> Iterable[Resource]:
        return configuration.resources

    def tried(self, configuration: Configuration | None) -> Iterable[Resource]:
        return () if configuration is None else configuration.resources


@dataclass(frozen=True, slots=True)
class Applied:
    """What a change did. `revision` is the store's after it; with nothing to do it is the one before."""

    revision: int
    created: tuple[Key, ...] = ()
    changed: tuple[Key, ...] = ()
    unchanged: tuple[Key, ...] = ()
    deleted: tuple[Key, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """What is another object than before."""
        return (*self.created, *self.changed, *self.deleted)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do: to the objects, to the resources of every sidecar, to clients that are connected."""

    applied: Applied
    objects: tuple[Difference, ...]
    resources: tuple[ResourceChange, ...]
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Decision:
    """A change that may be made."""

    wanted: dict[Key, Authored]
    configuration: Configuration
    applied: Applied
    puts: tuple[Entry, ...]
    deletes: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A text of YAML documents and what to call it in complaints."""

    file: str
    text: str


class ControlPlane:
    """One per process. `start` it, keep `run` running, then `apply` and `delete` at will."""

    def __init__(self, store: Store, kinds: Kinds, hub: Hub, validate: Validate = believe, observer: Observer | None = None):
        self.store = store
        self.kinds = kinds
        self.hub = hub
        self._validate = validate
        self._checked: Memo[list[Problem]] = Memo(lambda found, world: check_one(found, world, kinds))
        self._compiled: Memo[Result] = Memo(lambda found, world: compile_one(found, world, kinds))
        self._observer: Observer = observer or AsConfigured()
        self.rollout: Rollout | None = None  # the latest
        self._rolling: asyncio.Task | None = None
        self._lock = asyncio.Lock()
        self.contents = Contents(0, {})
        self.objects: dict[Key, Authored] = {}
        self.configuration = Configuration((), Blame(()))
        self._seen = 0  # the store's revision that was last looked at, good or not

    @property
    def blame(self) -> Blame:
        """Whom to blame for each resource that is published."""
        return self.configuration.blame

    def blame_for(self, node: str) -> Blame:
        """The same of what that node is given."""
        trial = self.hub.trial
        return self.rollout.blame if self.rollout is not None and trial is not None and trial.cohort(node) else self.blame

    async def start(self) -> None:
        """Publish what the store holds. Raises Invalid, StoreFailed."""
        async with self._lock:
            await self._load()

    async def run(self) -> None:
        """Follow the store until cancelled: other processes and people change it too."""
        while True:
            try:
                self._seen = await self.store.wait(self._seen)
                async with self._lock:
                    if self._seen > self.contents.revision:
                        self._abort_rollout()
                        await self._load()
            except Invalid as error:
                # What is stored now is no configuration: the last good one stays in force until the next change.
                log.error("stored objects refused", problems=[str(problem) for problem in error.problems])
            except StoreFailed as error:
                log.error("store failed", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def apply(
        self,
        sources: Iterable[Source],
        *,
        author: str = "",
        reason: str = "",
        dry_run: bool = False,
        permit: Permit = permit_all,
        phases: Phases = AS_THE_KINDS_SAY,
    ) -> Applied:
        """Create or replace the objects of these sources, all or none. Raises Invalid, Conflict, Unprepared, StoreFailed, and what `permit` does."""
        async with self._lock:

            async def decide() -> _Decision:
                decision = await self._decide(sources)
                permit(decision.applied)
                return decision

            return (await decide()).applied if dry_run else await self._make(decide, author, reason, phases)

    async def try_out(
        self, sources: Iterable[Source], steps: Sequence[Step], hold_s: float, *, gates: Gates | None, author: str, reason: str, permit: Permit
    ) -> Rollout:
        """Begin to apply these objects, to one cohort of sidecars after the other. Raises as `apply`."""
        async with self._lock:
            decision = await self._decide(sources)
            permit(decision.applied)
            self._require_no_rollout()
            self._require_mixable(decision)

            def to(cohort: Callable[[str], bool]) -> None:
                self.hub.try_out(self._observer.tried(decision.configuration), cohort)

            def back() -> None:
                self._observer.tried(None)
                self.hub.end_trial()

            async def commit() -> int:
                async with self._lock:
                    if self.contents.revision != decision.applied.revision:
                        raise Conflict("the objects were changed elsewhere meanwhile")
                    applied = await self._commit(decision, author, reason)
                    back()
                    return applied.revision

            keys = (*decision.applied.created, *decision.applied.changed)
            self.rollout = Rollout(self.hub, decision.configuration.blame, tuple(steps), hold_s, author, keys, to, back, commit, gates)
            self._rolling = asyncio.create_task(self.rollout.run())
            return self.rollout

    async def plan(self, sources: Iterable[Source]) -> Plan:
        """What `apply` would do. Raises Invalid, StoreFailed."""
        async with self._lock:
            decision = await self._decide(sources)
            changes = differences(self.contents, _after(self.contents, decision))
            resources = resource_changes(self.configuration.resources, decision.configuration.resources)
        return Plan(decision.applied, tuple(changes), tuple(resources), tuple(ended_clients(changes)))

    async def delete(self, keys: Iterable[Key], *, author: str = "", reason: str = "") -> Applied:
        """Remove these objects, all or none. Raises KeyError for one that does not exist, Invalid when others need it, and as `apply`."""
        gone = tuple(dict.fromkeys(keys))

        async def decide() -> _Decision:
            await self._refresh()
            for key in gone:
                if key not in self.objects:
                    raise KeyError(f"there is no {key[0]} {key[1]}")
            wanted = {key: found for key, found in self.objects.items() if key not in gone}
            return _Decision(wanted, await self._admit(wanted), Applied(self.contents.revision, deleted=gone), (), gone)

        async with self._lock:
            return await self._make(decide, author, reason)

    async def rollback(self, revision: int, *, author: str = "", reason: str = "", dry_run: bool = False, permit: Permit = permit_all) -> Applied:
        """Make the objects what they were after `revision`: a new change, admitted as any. Raises Gone, and as `apply`."""

        async def decide() -> _Decision:
            await self._refresh()
            target = await self.store.at(revision)
            wanted = self._parse_entries(target)
            puts = tuple(entry for entry in target.entries.values() if not _same(self.contents.entries.get(entry.key), entry))
            deletes = tuple(key for key in self.contents.entries if key not in target.entries)
            applied = replace(self._applied(puts), deleted=deletes)
            permit(applied)
            return _Decision(wanted, await self._admit(wanted), applied, puts, deletes)

        async with self._lock:
            return (await decide()).applied if dry_run else await self._make(decide, author, reason or f"rollback to revision {revision}")

    async def _make(self, decide: Callable[[], Awaitable[_Decision]], author: str, reason: str, phases: Phases = AS_THE_KINDS_SAY) -> Applied:
        """Make a change. Where another control plane made one between, it is decided anew, on what is there now."""
        for left in reversed(range(ATTEMPTS)):
            decision = await decide()
            self._require_no_rollout()
            try:
                return await self._commit(decision, author, reason, phases)
            except Conflict:
                if not left:
                    raise
            await asyncio.sleep(random.uniform(0, ANEW_WITHIN_S))
        raise AssertionError("the last attempt returns or raises")

    def _require_mixable(self, decision: _Decision) -> None:
        reason = "sidecars with the old and with the new must not serve at the same time, so it cannot be tried on some; apply it without --canary"
        owners = [decision.wanted[key] for key in decision.applied.keys if self.kinds.kinds[key[0]].together]
        if owners:
            raise Invalid(owner.problem("kind", reason) for owner in owners)

    def _require_no_rollout(self) -> None:
        if self.rollout is not None and self.rollout.is_under_way:
            raise Conflict(f"a rollout of {self.rollout.author or 'somebody'} is under way; wait for its end, or `midstream rollout abort`")

    async def difference(self, since: int, until: int) -> list[Difference]:
        """What changed from one revision to another. Raises Gone, StoreFailed."""
        after = await self.store.at(until)
        return differences(await self.store.at(since), after)

    async def _decide(self, sources: Iterable[Source]) -> _Decision:
        """What the objects of these sources would make of what is stored now. Raises Invalid, StoreFailed."""
        documents = [document for source in sources for document in _read(source)]
        await self._refresh()
        objects, problems = parse(documents, self.kinds)
        if problems:
            raise Invalid(problems)
        wanted = self.objects | {found.key: found for found in objects}
        configuration = await self._admit(wanted)
        puts = tuple(entry_of(found.document) for found in objects)
        return _Decision(wanted, configuration, self._applied(puts), puts, ())

    async def _load(self) -> None:
        contents = await self.store.read()
        wanted = self._parse_entries(contents)
        self._publish(contents, wanted, await self._admit(wanted))

    async def _refresh(self) -> None:
        """Decide on what the store holds now, not on what was last seen of it."""
        contents = await self.store.read()
        if contents.revision != self.contents.revision:
            self._abort_rollout()
            wanted = self._parse_entries(contents)
            self._publish(contents, wanted, await self._admit(wanted))

    def _abort_rollout(self) -> None:
        if self.rollout is not None:
            self.rollout.abort("the objects were changed elsewhere meanwhile")

    async def _admit(self, wanted: dict[Key, Authored]) -> Configuration:
        """The resources of these objects. Raises Invalid with every reason against them."""
        world = World(wanted.values())
        problems = [problem for found in self._checked.of(world) for problem in found]
        if problems:
            raise Invalid(problems)
        configuration = configuration_of(self._compiled.of(world))
        refusals = await asyncio.to_thread(self._validate, configuration.tuples())
        if refusals:
            raise Invalid(configuration.blame.problem(refusal) for refusal in refusals)
        return configuration

    def _applied(self, puts: Iterable[Entry]) -> Applied:
        created: list[Key] = []
        changed: list[Key] = []
        unchanged: list[Key] = []
        for entry in puts:
            found = self.contents.entries.get(entry.key)
            into = created if found is None else unchanged if found.value == entry.value else changed
            into.append(entry.key)
        return Applied(self.contents.revision, tuple(created), tuple(changed), tuple(unchanged))

    async def _commit(self, decision: _Decision, author: str, reason: str, phases: Phases = AS_THE_KINDS_SAY) -> Applied:
        # An object that only moved in its file is unchanged to its author, but must be blamed where it is now.
        rows = [entry for entry in decision.puts if not _same(self.contents.entries.get(entry.key), entry)]
        if not rows and not decision.deletes:
            return decision.applied
        if phases.together or self._is_together(decision.applied):
            await prepare(self.hub, self.configuration, decision.configuration, phases.within_s)
        try:
            revision = await self.store.write(rows, decision.deletes, expected=self.contents.revision, author=author, reason=reason)
        except BaseException:
            self.hub.prepare(None)
            raise
        self._publish(replace(_after(self.contents, decision), revision=revision), decision.wanted, decision.configuration)
        return replace(decision.applied, revision=revision)

    def _is_together(self, applied: Applied) -> bool:
        return any(self.kinds.kinds[kind].together for kind, _ in applied.keys)

    def _publish(self, contents: Contents, objects: dict[Key, Authored], configuration: Configuration) -> None:
        self.contents, self.objects, self.configuration = contents, objects, configuration
        self._seen = max(self._seen, contents.revision)
        snapshot = self.hub.flip(self._observer.resources(configuration))
        log.info("published", revision=contents.revision, version=snapshot.version, objects=len(objects), sidecars=len(self.hub.nodes))

    def _parse_entries(self, contents: Contents) -> dict[Key, Authored]:
        """Objects that did not change since the last look are not parsed again."""
        objects: dict[Key, Authored] = {}
        problems: list[Problem] = []
        for key, entry in contents.entries.items():
            known = self.objects.get(key)
            if known is not None and entry.revision and self.contents.entries.get(key) == entry:
                objects[key] = known
                continue
            found, wrong = parse_one(Document(entry.value, entry.file, entry.lines), self.kinds)
            problems += wrong
            if found is not None:
                objects[key] = found
        if problems:
            raise Invalid(problems)
        return objects


def _after(contents: Contents, decision: _Decision) -> Contents:
    """What is stored once it is made."""
    deleted = set(decision.deletes)
    kept = {key: entry for key, entry in contents.entries.items() if key not in deleted}
    new = {entry.key: entry for entry in decision.puts if not _same(kept.get(entry.key), entry)}
    return Contents(contents.revision, kept | new)


def _read(source: Source) -> list[Document]:
    documents, problems = read(source.text, source.file)
    if problems:
        raise Invalid(problems)
    return documents


def _same(one: Entry | None, other: Entry) -> bool:
    return one is not None and (one.value, one.file, one.lines) == (other.value, other.file, other.lines)
