"""Resources and the immutable sets a snapshot is made of.

A `TypeSet` is shared by all the clients that hold it, and so is the difference between two of them: pushing one change to 5,000 clients
computes one difference and joins one body. What is per client is a reference.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from weakref import WeakKeyDictionary

from xds.messages import type_url
from xds.protocol import wire
from xds.protocol.errors import ResourceError
from xds.protocol.names import glob_of, normal
from xds.protocol.types import push_rank

# gRPC clients refuse messages over 4 MiB by default (D8). The rest is room for the type URL, the nonce and the names of removals.
MAX_BODY_BYTES = 4 * 1024 * 1024 - 64 * 1024

_WRAPPER = type_url("envoy.service.discovery.v3.Resource")

# Hex digits of a version: 64 bits, which two contents of one name will not share by accident.
_VERSION_DIGITS = 16


def content_version(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_VERSION_DIGITS // 2).hexdigest()


def set_version(listing: Iterable[tuple[str, str, str]]) -> str:
    """The version of a set of (type URL, name, version). A client computes the same of what it received."""
    return content_version("\n".join(" ".join(item) for item in sorted(listing)).encode())


class Resource:
    """One resource as its serialised bytes. Equal contents give equal versions, on every control plane.

    `warms` names what a client waits for after it has been given this one (S9), e.g. a Cluster's ClusterLoadAssignment.
    A resource with a `ttl_s` is dropped by clients that are not told of it for so long; another TTL is another version, so that it is sent (S11).
    """

    __slots__ = ("__dict__", "name", "ttl_s", "type_url", "value", "version", "warms")

    def __init__(self, type_url: str, name: str, value: bytes, *, warms: tuple[tuple[str, str], ...] = (), ttl_s: float = 0):
        self.type_url = type_url
        self.name = normal(name)
        self.value = value
        self.version = content_version(value + f" ttl {ttl_s}".encode() if ttl_s else value)
        self.warms = warms
        self.ttl_s = ttl_s

    @cached_property
    def any_frame(self) -> bytes:
        """google.protobuf.Any as field 2 of a DiscoveryResponse, and of a Resource."""
        return wire.field(2, wire.field(1, self.type_url) + wire.field(2, self.value))

    @cached_property
    def delta_frame(self) -> bytes:
        """envoy.service.discovery.v3.Resource as field 2 of a DeltaDiscoveryResponse, for a client that knows no TTL."""
        return wire.field(2, wire.field(1, self.version) + self.any_frame + wire.field(3, self.name))

    @cached_property
    def delta_ttl_frame(self) -> bytes:
        return wire.field(2, self._with_ttl(self.any_frame)) if self.ttl_s else self.delta_frame

    @cached_property
    def any_ttl_frame(self) -> bytes:
        """In the state of the world only a wrapped resource can carry a TTL."""
        return _wrapped(self._with_ttl(self.any_frame)) if self.ttl_s else self.any_frame

    def heartbeat(self, *, wrapped: bool) -> bytes:
        """As field 2 of a response: the name and version that still hold, without the contents (S11)."""
        body = self._with_ttl(b"")
        return _wrapped(body) if wrapped else wire.field(2, body)

    def _with_ttl(self, content: bytes) -> bytes:
        return wire.field(1, self.version) + content + wire.field(3, self.name) + wire.field(6, wire.duration(self.ttl_s))

    def __repr__(self) -> str:
        return f"Resource({self.name!r}, {self.version})"


def _wrapped(resource: bytes) -> bytes:
    return wire.field(2, wire.field(1, _WRAPPER) + wire.field(2, resource))


class Chunk:
    """Resources that travel in one response. Its body in each encoding is joined once, whoever it goes to."""

    def __init__(self, resources: tuple[Resource, ...]):
        self.resources = resources

    @cached_property
    def any_body(self) -> bytes:
        return b"".join(resource.any_frame for resource in self.resources)

    @cached_property
    def delta_body(self) -> bytes:
        return b"".join(resource.delta_frame for resource in self.resources)

    @cached_property
    def any_ttl_body(self) -> bytes:
        return b"".join(resource.any_ttl_frame for resource in self.resources) if self._mortal else self.any_body

    @cached_property
    def delta_ttl_body(self) -> bytes:
        return b"".join(resource.delta_ttl_frame for resource in self.resources) if self._mortal else self.delta_body

    @cached_property
    def _mortal(self) -> bool:
        return any(resource.ttl_s for resource in self.resources)


EMPTY_CHUNK = Chunk(())


def chunked(resources: Iterable[Resource]) -> list[Chunk]:
    """Cut into chunks below MAX_BODY_BYTES. A resource larger than that travels alone."""
    chunks: list[Chunk] = []
    current: list[Resource] = []
    size = 0
    for resource in resources:
        length = len(resource.delta_frame)
        if current and size + length > MAX_BODY_BYTES:
            chunks.append(Chunk(tuple(current)))
            current, size = [], 0
        current.append(resource)
        size += length
    if current:
        chunks.append(Chunk(tuple(current)))
    return chunks


class Difference:
    """What turns one set into another. `errors` are those of names a client asked for."""

    def __init__(self, changed: Iterable[Resource], removed: Iterable[str], errors: Iterable[ResourceError] = ()):
        self.changed = tuple(changed)
        self.removed = tuple(removed)
        self.errors = tuple(errors)

    @cached_property
    def chunks(self) -> list[Chunk]:
        return chunked(self.changed)

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.errors)


class TypeSet:
    """All resources of one type in a snapshot, immutable. `version` is the hash of names and versions.

    `errors` say of names that are not here why not (D10). What has an error that may pass is withheld, not gone: clients keep what they have of it.
    """

    def __init__(self, type_url: str, resources: Iterable[Resource] = (), errors: Iterable[ResourceError] = ()):
        self.type_url = type_url
        self.resources: Mapping[str, Resource] = {resource.name: resource for resource in sorted(resources, key=lambda r: r.name)}
        self.errors: Mapping[str, ResourceError] = {error.name: error for error in errors if error.name not in self.resources}
        self.withheld = frozenset(name for name, error in self.errors.items() if error.may_pass)
        listing = [f"{name} {resource.version}" for name, resource in self.resources.items()]
        listing += [f"{name} {error.code} {error.text}" for name, error in sorted(self.errors.items())]
        self.version = content_version("\n".join(listing).encode())
        self._since: WeakKeyDictionary[TypeSet, Difference] = WeakKeyDictionary()

    def since(self, older: "TypeSet") -> Difference:
        """The difference from `older` to this set; computed once per pair."""
        found = self._since.get(older)
        if found is None:
            found = self._since[older] = self._compare(older)
        return found

    @cached_property
    def whole(self) -> Difference:
        """The difference from nothing."""
        return Difference(self.resources.values(), ())

    @cached_property
    def globs(self) -> Mapping[str, tuple[str, ...]]:
        """Glob collection -> the names in it."""
        found: dict[str, list[str]] = {}
        for name in self.resources:
            if glob := glob_of(name):
                found.setdefault(glob, []).append(name)
        return {glob: tuple(names) for glob, names in found.items()}

    @cached_property
    def mortal(self) -> tuple[Resource, ...]:
        """Those with a TTL."""
        return tuple(resource for resource in self.resources.values() if resource.ttl_s)

    def without(self, instead: Mapping[str, Resource | ResourceError]) -> "TypeSet":
        """The same set with something else in place of some names."""
        kept = [resource for name, resource in self.resources.items() if name not in instead]
        resources = [found for found in instead.values() if isinstance(found, Resource)]
        errors = [found for found in instead.values() if isinstance(found, ResourceError)]
        return TypeSet(self.type_url, kept + resources, [*self.errors.values(), *errors])

    def _compare(self, older: "TypeSet") -> Difference:
        before, after = older.resources, self.resources
        changed = [new for name, new in after.items() if name not in before or before[name].version != new.version]
        return Difference(changed, [name for name in (*before, *older.withheld) if name not in after and name not in self.withheld])


class Snapshot:
    """Everything a client could be given at one moment: a TypeSet for each type URL, immutable.

    Sets that did not change are taken over from the snapshot before, so that "is there anything to send" is an identity test.
    """

    def __init__(self, resources: Iterable[Resource] = (), *, errors: Iterable[ResourceError] = (), previous: "Snapshot | None" = None):
        by_type: dict[str, tuple[list[Resource], list[ResourceError]]] = {}
        for resource in resources:
            by_type.setdefault(resource.type_url, ([], []))[0].append(resource)
        for error in errors:
            by_type.setdefault(error.type_url, ([], []))[1].append(error)
        earlier = previous.types if previous else {}
        self.types: dict[str, TypeSet] = {}
        for url in sorted(by_type.keys() | earlier.keys(), key=push_rank):
            new = TypeSet(url, *by_type.get(url, ((), ())))
            old = earlier.get(url)
            self.types[url] = old if old is not None and old.version == new.version else new

    def with_sets(self, sets: Mapping[str, TypeSet]) -> "Snapshot":
        """The same with other sets of some types."""
        found = Snapshot()
        found.types = self.types | dict(sets)
        return found

    @cached_property
    def version(self) -> str:
        return set_version((url, name, resource.version) for url, found in self.types.items() for name, resource in found.resources.items())

    @cached_property
    def has_errors(self) -> bool:
        return any(found.errors for found in self.types.values())
