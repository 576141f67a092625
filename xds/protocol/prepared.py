"""The two phases of a change that all sidecars make together, on the wire: see protos/midstream/rollout/v1/prepared.proto."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.messages import message, serialise, type_url
from xds.protocol.resource import Resource, Snapshot

PREPARED = type_url("midstream.rollout.v1.Prepared")
# There is one at a time.
NAME = "next"


def prepared(epoch: int, before: Snapshot, after: Snapshot) -> Resource:
    """What turns one snapshot into the other, to be checked by all before it is done."""
    found = message("midstream.rollout.v1.Prepared")(epoch=epoch)
    for url, target in after.types.items():
        old = before.types.get(url)
        if url == PREPARED or old is target:
            continue
        difference = target.whole if old is None else target.since(old)
        for resource in difference.changed:
            found.changes.add(type_url=url, name=resource.name, version=resource.version, value=resource.value)
        for name in difference.removed:
            found.changes.add(type_url=url, name=name)
    return Resource(PREPARED, NAME, serialise(found))


def place(index: int, field: str) -> str:
    """Where in a Prepared a refused field of one of its resources is."""
    return f"changes[{index}].{field}"


def resource_at(value: bytes, field: str) -> tuple[str, str, str] | None:
    """The type URL, name and field that a `place` in a Prepared means."""
    index, bracket, rest = field.removeprefix("changes[").partition("]")
    changes = message("midstream.rollout.v1.Prepared").FromString(value).changes
    if not bracket or not index.isdecimal() or int(index) >= len(changes):
        return None
    return changes[int(index)].type_url, changes[int(index)].name, rest.removeprefix(".")


def changes_in(value: bytes) -> Iterable[Message]:
    return message("midstream.rollout.v1.Prepared").FromString(value).changes
