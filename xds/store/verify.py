"""Whether a store is what its audit log says it is."""

from dataclasses import dataclass

from xds.store.audit import DONE, REFUSED, broken_link, difference
from xds.store.base import Head, Log, Store


@dataclass(frozen=True, slots=True)
class Finding:
    """`broken` is empty where all is whole."""

    broken: str
    anchor: Head
    head: Head


async def verify(store: Store, noted: Head | None = None) -> Finding:
    """`noted` is a head that was seen before, and has to be there still. Raises StoreFailed."""
    log = await store.audit()

    async def broken() -> str:
        if reason := broken_link(log):
            return reason
        if noted is not None and noted.number > log.anchor.number and noted not in {record.head for record in log.records}:
            return f"record {noted.number} is not the one that was noted: the log was written anew, or cut"
        return await _against_contents(store, log)

    return Finding(await broken(), log.anchor, log.head)


async def _against_contents(store: Store, log: Log) -> str:
    contents = await store.read()
    made = [record for record in log.records if record.told.get("outcome") != REFUSED]
    if not made:
        return f"there is no record of {contents.revision} revisions: cut, or from before there were any" if contents.revision else ""
    newest = made[-1].told["revision"]
    if newest != contents.revision:
        return f"the newest revision is {contents.revision}, that of the newest record is {newest}"
    kept = {change.revision for change in await store.history(len(made))}
    for record in made:
        told = record.told
        if told.get("outcome") == DONE and told["revision"] in kept and (reason := difference(record, await store.written(told["revision"]))):
            return reason
        if told.get("outcome") == DONE and told["revision"] not in kept and told["revision"] >= min(kept, default=0):
            return f"revision {told['revision']} is missing (record {record.number})"
    if kept and (await store.at(newest)).entries != contents.entries:
        return "the objects in force are not those of the newest revision"
    return ""
