"""What lies between two states of the objects, and what a change would do to the sidecars."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from xds.messages import message_of, pool
from xds.protocol.resource import Resource
from xds.store.base import Contents

# Fields named per resource; a new file of rules may differ in thousands.
MAX_FIELDS = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """An object in two states; None: it is not there."""

    kind: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """A resource as sidecars are given it. `fields` are the paths that differ, of a changed one."""

    type: str
    name: str
    what: str  # added, changed, removed
    fields: tuple[str, ...] = ()


def differences(before: Contents, after: Contents) -> list[Difference]:
    """By kind and name; an object that only moved in its file is not among them."""
    found = []
    for key in sorted({*before.entries, *after.entries}):
        old, new = (contents.entries.get(key) for contents in (before, after))
        values = tuple(entry.value if entry else None for entry in (old, new))
        if values[0] != values[1]:
            found.append(Difference(*key, *values))
    return found


def resource_changes(before: Iterable[Resource], after: Iterable[Resource]) -> list[ResourceChange]:
    """By type and name."""
    old, new = ({(resource.type_url, resource.name): resource for resource in resources} for resources in (before, after))
    return [change for key in sorted({*old, *new}) if (change := _change(key, old.get(key), new.get(key))) is not None]


def ended_clients(changes: Iterable[Difference]) -> list[str]:
    """A sentence for each listener whose clients are disconnected or led elsewhere."""
    return [sentence for change in changes if change.kind == "Listener" and change.before is not None for sentence in _ends(change)]


def _ends(change: Difference) -> Iterator[str]:
    before, after = (value["spec"] if value else None for value in (change.before, change.after))
    if after is None:
        yield f"Listener {change.name} goes: its clients are disconnected once they have what they are owed"
        return
    if before.get("protocol") != after.get("protocol"):
        yield f"Listener {change.name} speaks {after.get('protocol')}: its clients are disconnected once they have what they are owed"
    elif before.get("backend") != after.get("backend"):
        yield f"Listener {change.name} leads to {after.get('backend')}: its clients' connections to {before.get('backend')} end"
    if before.get("address") != after.get("address"):
        yield f"Listener {change.name} takes new clients at {after.get('address')}; those of {before.get('address')} stay connected"


def _change(key: tuple[str, str], old: Resource | None, new: Resource | None) -> ResourceChange | None:
    short = key[0].rpartition(".")[2]
    if old is None or new is None:
        return ResourceChange(short, key[1], "added" if old is None else "removed")
    if old.version == new.version:
        return None
    parsed = (message_of(key[0]).FromString(resource.value) for resource in (old, new))
    values = (MessageToDict(found, descriptor_pool=pool()) for found in parsed)
    fields = sorted(set(_differing(*values)))
    more = (f"and {len(fields) - MAX_FIELDS} more",) if len(fields) > MAX_FIELDS else ()
    return ResourceChange(short, key[1], "changed", tuple(fields[:MAX_FIELDS]) + more)


def _differing(old: object, new: object, path: str = "") -> Iterator[str]:
    """Paths, like listeners[0].address, at which two JSON values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {*old, *new}:
            yield from _differing(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differing(one, other, f"{path}[{index}]")
    elif old != new:
        yield path
