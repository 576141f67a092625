"""What sidecars tell of a migration, by way of the control plane's status."""

import re
from collections import defaultdict
from dataclasses import dataclass

from cache_mesh.migration import KIND, SERIES

_SERIES = re.compile(rf'{SERIES}(?P<what>\w+){{.*migration="(?P<name>[^"]*)",worker="(?P<worker>\d+)"')


@dataclass(frozen=True)
class Sidecar:
    """One that is or was connected. Numbers are of all its workers."""

    node: str
    connected: bool
    refusal: str  # why it did not take the object; "" where it did, or has not answered
    instance: str  # another one after each start
    workers: int
    epochs: dict[str, int]  # by worker
    settling: int  # commands that were under way when it began to copy
    dirty: int  # keys still to be copied
    unsure: int  # keys to be copied once more, because of a connection that broke
    held: int  # clients that wait at the fence
    copied: int
    lost: int  # keys that were not copied and are not known any more
    failed: int

    def is_at(self, epoch: int) -> bool:
        """All its workers do as the object says."""
        return len(self.epochs) == self.workers > 0 and all(found == epoch for found in self.epochs.values())

    @property
    def is_drained(self) -> bool:
        return self.settling == self.dirty == self.unsure == 0


def sidecars(status: dict, name: str, known: set[str]) -> list[Sidecar]:
    """Of a control plane's status, and those that were `known` to an earlier one and are not there."""
    there = {found["node"] for found in status["sidecars"]}
    gone = [{"node": node, "connected": False, "objects": []} for node in sorted(known - there)]
    return [_sidecar(found, name) for found in [*status["sidecars"], *gone]]


def _sidecar(found: dict, name: str) -> Sidecar:
    report = found.get("report") or {}
    totals: dict[str, int] = defaultdict(int)
    epochs: dict[str, int] = {}
    for series, value in report.get("series", {}).items():
        match = _SERIES.match(series)
        if match is None or match["name"] != name:
            continue
        totals[match["what"]] += int(value)
        if match["what"] == "epoch":
            epochs[match["worker"]] = int(value)
    refused = [item["reason"] for item in found["objects"] if (item["kind"], item["name"], item["state"]) == (KIND, name, "NACKED")]
    numbers = {what: totals[what] for what in ("settling", "dirty", "unsure", "held")}
    sums = {what: totals[f"{what}_total"] for what in ("copied", "lost", "failed")}
    return Sidecar(
        found["node"],
        found["connected"],
        refused[0] if refused else "",
        report.get("instance", ""),
        report.get("workers", 0),
        epochs,
        **numbers,
        **sums,
    )


def witness(found: list[Sidecar]) -> dict[str, list]:
    """What must not change between a clean comparison and the fence: who copies, and what each has lost."""
    return {one.node: [one.instance, one.lost] for one in found if one.connected}
