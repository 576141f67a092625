"""The audit log of a store: every change and every refused one, as a chain in which each record seals the one before.

    seal = SHA-256(number, seal of the record before, body)

Who alters, takes away or moves a record by hand breaks the chain from there on. Who writes a whole new chain gets another newest seal: a seal that
was noted elsewhere finds that too, and nothing else does. Old records are forgotten; the *anchor*, the seal of the last of them, stays, and the
chain begins there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from xds.store.base import Change, Entry, Head, Key, Log, Record, RefusedChange, Written

# Records that are kept: refusals too, so more than there are revisions.
KEPT_RECORDS = 100_000
# Of what a record says of its reason.
MAX_REASON = 500

DONE, REFUSED, BEGUN = "done", "refused", "begun"


def digest(puts: Iterable[Entry], deletes: Iterable[Key]) -> str:
    """Of what a change wrote: the same through every store."""
    # Through JSON once: a number that is a key is text in every store.
    put = sorted([entry.kind, entry.name, json.loads(json.dumps(entry.value)), entry.file, entry.lines] for entry in puts)
    return hashlib.sha256(_json({"put": put, "removed": sorted(map(list, deletes))}).encode()).hexdigest()


def changed(head: Head, change: Change, puts: Iterable[Entry]) -> Iterator[Record]:
    """The records of a change that is made. The first of a store that had none says at which revision they begin."""
    if head.number == 0 and change.revision > 1:
        begun = _record(head, {"at": change.at, "outcome": BEGUN, "revision": change.revision - 1})
        yield begun
        head = begun.head
    said = {"at": change.at, "author": change.author, "action": "write", "outcome": DONE, "reason": change.reason, "revision": change.revision}
    yield _record(head, said | {"digest": digest(puts, change.removed)})


def refused(head: Head, refusal: RefusedChange) -> Iterator[Record]:
    said = {"at": refusal.at, "author": refusal.author, "action": refusal.action, "outcome": REFUSED}
    yield _record(head, said | {"reason": refusal.reason[:MAX_REASON], "revision": refusal.revision})


def _record(head: Head, said: dict[str, Any]) -> Record:
    body = _json(said)
    return Record(head.number + 1, body, seal_of(head, body))


def seal_of(before: Head, body: str) -> str:
    return hashlib.sha256(f"{before.number + 1}\n{before.seal}\n{body}".encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def broken_link(log: Log) -> str:
    """What is wrong with the first record that does not follow the one before; empty where all do."""
    before, revision = log.anchor, None  # of the last change
    for record in log.records:
        if record.number != before.number + 1:
            return f"record {before.number + 1} is missing: {record.number} follows {before.number}"
        if record.seal != seal_of(before, record.body):
            return f"record {record.number} is not what was sealed, or not in its place"
        found = record.told.get("revision")
        if not isinstance(found, int):
            return f"record {record.number} is no record"
        if record.told.get("outcome") != REFUSED:
            if revision is not None and found != revision + 1:
                return f"record {record.number} is of revision {found}, and revision {revision + 1} has none"
            revision = found
        before = record.head
    return ""


def difference(record: Record, written: Written) -> str:
    """Whether the store still has what a change wrote; empty where it does."""
    told, change = record.told, written.change
    if (told.get("author"), told.get("reason"), told.get("at")) != (change.author, change.reason, change.at):
        return f"who made revision {change.revision}, when or why was altered (record {record.number})"
    if told.get("digest") != digest(written.puts, change.removed):
        return f"what revision {change.revision} wrote was altered (record {record.number})"
    return ""
