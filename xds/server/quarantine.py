"""What foreign clients refuse is held back from all of their kind, once it is known which resource it is.

Our sidecars name what they refuse and keep the last good version of it by themselves. Envoy and gRPC refuse a response as a whole: then one client of
the kind is examined (`xds.protocol.inquest`), and meanwhile no other of the kind is given the suspects. In the place of what was found guilty they
are given its last good version, where there is one, until it changes.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from google.protobuf.message import Message

from xds.protocol.errors import UNAVAILABLE, ResourceError
from xds.protocol.inquest import Inquest
from xds.protocol.report import field_in
from xds.protocol.resource import Resource, Snapshot, TypeSet
from xds.protocol.stream import Verdict

if TYPE_CHECKING:
    from xds.server.hub import Connection

# A client answers within milliseconds. One that does not is examined no longer, and its kind is given all again but what was found by then.
ANSWER_S = 10.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A resource, in one version, that a kind of client is not given. `node` refused it."""

    resource: Resource
    node: str
    field: str
    reason: str
    since: float  # seconds since the epoch


@dataclass(slots=True)
class _Examination:
    connection: "Connection"
    inquest: Inquest
    deadline: asyncio.TimerHandle


@dataclass(slots=True)
class _Ward:
    """Of one kind of client."""

    guilty: dict[Key, Quarantined] = field(default_factory=dict)
    examined: dict[str, _Examination] = field(default_factory=dict)  # by type URL
    views: WeakKeyDictionary[Snapshot, Snapshot] = field(default_factory=WeakKeyDictionary)  # what the kind is given of each
    sets: dict[str, TypeSet] = field(default_factory=dict)  # what the kind was given last, so that equal sets stay the same object


def kind_of(node: Message) -> str:
    """Which resources a client takes depends on what it is: "envoy 1.40.0"."""
    version = node.user_agent_build_version.version
    build = f"{version.major_number}.{version.minor_number}.{version.patch}" if node.HasField("user_agent_build_version") else ""
    return f"{node.user_agent_name} {node.user_agent_version or build}".strip()


class Quarantine:
    """One per hub. `offer` gives a connection what it is due, `offer_all` all of them."""

    def __init__(self, wanted: Callable[[str], Snapshot], offer: Callable[["Connection"], None], offer_all: Callable[[], None]) -> None:
        self._wanted = wanted
        self._offer = offer
        self._offer_all = offer_all
        self._wards: dict[str, _Ward] = {}
        self._last_good: dict[Key, Resource] = {}  # the versions before the present ones

    def view(self, snapshot: Snapshot, connection: "Connection") -> Snapshot:
        """What of it this client is given."""
        ward = self._wards.get(connection.kind)
        if ward is None:
            return snapshot
        if any(found.connection is connection for found in ward.examined.values()):
            return self._made(ward, connection, snapshot)
        found = ward.views.get(snapshot)
        if found is None:
            found = ward.views[snapshot] = self._made(ward, connection, snapshot)
        return found

    def judged(self, connection: "Connection", verdict: Verdict) -> None:
        """A client has answered."""
        ward = self._wards.get(connection.kind)
        if verdict.refused and not verdict.exact:
            ward = self._wards.setdefault(connection.kind, _Ward())
            self._refused(ward, connection, verdict)
        elif ward is not None and (found := ward.examined.get(verdict.type_url)) and found.connection is connection and verdict.refused is None:
            found.inquest.taken(verdict.resources)
            self._go_on(ward, found, verdict.type_url)

    def closed(self, connection: "Connection") -> None:
        """Who is gone cannot be examined: the next of its kind that refuses is."""
        ward = self._wards.get(connection.kind)
        for url in [url for url, found in ward.examined.items() if found.connection is connection] if ward else ():
            self._end(connection.kind, url)

    def published(self, old: Snapshot, new: Snapshot) -> None:
        """What changes is given to all again, and what it was before is good unless it was refused."""
        for url, found in new.types.items():
            before = old.types.get(url)
            if before is None or before is found:
                continue
            difference = found.since(before)
            for resource in difference.changed:
                if (known := before.resources.get(resource.name)) and not self._is_refused(known):
                    self._last_good[url, resource.name] = known
            for name in difference.removed:
                self._last_good.pop((url, name), None)

    def release(self, snapshots: Iterable[Snapshot]) -> None:
        """Only what is in one of these is still refused."""
        if not self._wards:
            return
        wanted = {
            (url, resource.name, resource.version)
            for found in snapshots
            for url, known in found.types.items()
            for resource in known.resources.values()
        }
        for ward in self._wards.values():
            ward.guilty = {key: found for key, found in ward.guilty.items() if (*key, found.resource.version) in wanted}
            ward.views.clear()

    def found(self, kind: str, resource: Resource) -> Quarantined | None:
        """Whether a kind of client is not given this, and why."""
        ward = self._wards.get(kind)
        known = ward.guilty.get((resource.type_url, resource.name)) if ward else None
        return known if known is not None and known.resource.version == resource.version else None

    def is_suspect(self, kind: str, resource: Resource) -> bool:
        """It is not known yet whether this kind of client takes it."""
        ward = self._wards.get(kind)
        examined = ward.examined.get(resource.type_url) if ward else None
        known = examined.inquest.suspects.get(resource.name) if examined else None
        return known is not None and known.version == resource.version

    def _refused(self, ward: _Ward, connection: "Connection", verdict: Verdict) -> None:
        url, refused = verdict.type_url, verdict.refused or {}
        found = ward.examined.get(url)
        connection.stream.disown(url, refused)
        if found is not None and found.connection is not connection:
            return  # one is enough; it is given all again when that is over
        if found is None and any(self.found(connection.kind, one) is not None for one in verdict.resources if one.name in refused):
            connection.stream.repeat(url)  # it was sent before these were known, and is given the others now
            self._offer(connection)
            connection.wake.set()
            return
        if found is None:
            found = ward.examined[url] = _Examination(connection, Inquest(), self._patience(connection.kind, url))
        reason = next(iter(refused.values())).reason
        found.inquest.refused([resource for resource in verdict.resources if resource.name in refused], reason)
        began = len(refused) > 1 and not ward.guilty
        self._go_on(ward, found, url)
        if began:
            self._offer_all()

    def _go_on(self, ward: _Ward, found: _Examination, url: str) -> None:
        inquest, connection = found.inquest, found.connection
        ward.views.clear()
        for name, (resource, reason) in inquest.guilty.items():
            ward.guilty.setdefault((url, name), Quarantined(resource, connection.node, field_in(reason), reason, time.time()))
        wanted = self._wanted(connection.node).types.get(url)
        if inquest.next(wanted.resources.values() if wanted else ()):
            found.deadline.cancel()
            found.deadline = self._patience(connection.kind, url)
            self._offer(connection)
        else:
            self._end(connection.kind, url)

    def _end(self, kind: str, url: str) -> None:
        ward = self._wards[kind]
        ward.examined.pop(url).deadline.cancel()
        ward.views.clear()
        self._offer_all()

    def _patience(self, kind: str, url: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ANSWER_S, self._end, kind, url)

    def _made(self, ward: _Ward, connection: "Connection", snapshot: Snapshot) -> Snapshot:
        sets = {}
        for url, wanted in snapshot.types.items():
            instead = self._instead(ward, connection, url, wanted)
            if instead:
                sets[url] = self._known(ward, wanted.without(instead))
        return snapshot.with_sets(sets) if sets else snapshot

    def _instead(self, ward: _Ward, connection: "Connection", url: str, wanted: TypeSet) -> dict[str, Resource | ResourceError]:
        examined = ward.examined.get(url)
        held_back = {found.resource.name: found.resource for (of, _), found in ward.guilty.items() if of == url}
        if examined is not None:
            mine = {resource.name for resource in examined.inquest.trying} if examined.connection is connection else ()
            held_back |= {name: found for name, found in examined.inquest.suspects.items() if name not in mine}
        instead: dict[str, Resource | ResourceError] = {}
        for name, resource in held_back.items():
            now = wanted.resources.get(name)
            if now is not None and now.version == resource.version:
                instead[name] = self._substitute(ward, resource)
        return instead

    def _substitute(self, ward: _Ward, resource: Resource) -> Resource | ResourceError:
        """An error that may pass makes a client keep what it has."""
        good = self._last_good.get((resource.type_url, resource.name))
        if good is not None and good.version != resource.version and not self._is_refused(good):
            return good
        return ResourceError(resource.type_url, resource.name, UNAVAILABLE, "held back: a client of this kind has refused it")

    def _is_refused(self, resource: Resource) -> bool:
        return any(self.found(kind, resource) is not None for kind in self._wards)

    @staticmethod
    def _known(ward: _Ward, found: TypeSet) -> TypeSet:
        known = ward.sets.get(found.type_url)
        if known is None or known.version != found.version:
            ward.sets[found.type_url] = known = found
        return known

    def all(self) -> Iterator[tuple[str, Quarantined]]:
        """By kind of client."""
        for kind, ward in self._wards.items():
            yield from ((kind, found) for found in ward.guilty.values())
