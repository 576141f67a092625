"""Takes a RedisMigration from stage to stage, each when all sidecars are where it needs them.

prepared ─start─> dual-write ─cut_over─> fence > switch > cut-over ─finish─> done
                      ^                                      |
                      └── switch-back < fence-back <─roll_back┘
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from cache_mesh.migrate.memory import Memory
from cache_mesh.migrate.servers import Failed
from cache_mesh.migrate.sidecars import Sidecar, sidecars, witness
from cache_mesh.migration import KIND, MOVED, RedisMigrationSpec
from mesh_core.control.client import RestClient

LOOK_EVERY_S = 0.05
# A stage is in force within a fraction of a second; what was under way before it may take its time.
SETTLES_WITHIN_S = 60.0

Say = Callable[[str], None]


@dataclass
class Stages:
    """One migration. `absent`: nodes that are known to be gone for good; `known`: all that were ever seen."""

    client: RestClient
    name: str
    absent: frozenset[str]
    say: Say
    fence_s: float = 5.0
    known: set[str] = field(default_factory=set)

    def object(self) -> dict | None:
        found = self.client.objects(KIND, self.name)["objects"]
        return found[0]["object"] if found else None

    def spec(self) -> RedisMigrationSpec:
        """Raises Failed where there is none."""
        found = self.object()
        if found is None:
            raise Failed(f"there is no {KIND} {self.name}; begin with `midstream migrate start`")
        return RedisMigrationSpec.model_validate(found["spec"])

    def seen(self) -> list[Sidecar]:
        found = sidecars(self.client.status(), self.name, self.known)
        self.known.update(one.node for one in found)
        return [one for one in found if one.connected or one.node not in self.absent]

    def go_to(self, stage: str, spec: dict[str, Any] | None = None, seconds: float = SETTLES_WITHIN_S) -> int:
        """Stores the stage, and waits until every worker of every sidecar does as it says. The epoch. Raises Failed."""
        found = self.object() or {"apiVersion": "midstream/v1", "kind": KIND, "metadata": {"name": self.name}, "spec": spec}
        epoch = int(found["spec"].get("epoch", 0)) + 1
        changed = found | {"spec": found["spec"] | {"stage": stage, "epoch": epoch}}
        text = yaml.safe_dump(changed, sort_keys=False)
        self.client.apply([{"file": f"midstream migrate {self.name}", "text": text}], reason=f"{KIND} {self.name}: {stage}")
        self.until(f"stage {stage} is in force", epoch, lambda one: True, seconds)
        return epoch

    def until(self, what: str, epoch: int, is_there: Callable[[Sidecar], bool], seconds: float) -> list[Sidecar]:
        """What all sidecars tell as soon as they are there. Raises Failed with those that are not in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.seen()
            missing = [one for one in found if not (one.connected and one.is_at(epoch) and is_there(one))]
            if not missing:
                return found
            if time.monotonic() >= deadline or any(one.refusal for one in missing):
                raise Failed(f"not everywhere within {seconds:g} s: {what}. " + "; ".join(map(_state, missing)))
            time.sleep(LOOK_EVERY_S)

    def start(self, spec: dict[str, Any]) -> None:
        """Double writing, everywhere. Raises Failed, Invalid."""
        epoch = self.go_to("dual-write", spec)
        self.until("what was under way before is answered", epoch, lambda one: one.settling == 0, SETTLES_WITHIN_S)

    def cut_over(self, memory: Memory) -> None:
        """From dual writing to the new cluster; goes on where an earlier one stopped. Raises Failed, after which nothing has changed."""
        self._cross(memory, ("dual-write", "fence", "switch", "cut-over"))

    def roll_back(self, memory: Memory) -> None:
        """One way back: from the new cluster to dual writing, from there to nothing. Raises Failed."""
        stage = self.spec().stage
        if stage in ("cut-over", "fence-back", "switch-back"):
            self._cross(memory, ("cut-over", "fence-back", "switch-back", "dual-write"))
        elif stage in ("fence", "switch"):
            if stage == "switch":
                self.go_to("fence")
            self.go_to("dual-write")
        elif stage == "dual-write":
            self.go_to("prepared")
            memory.forget()
        else:
            raise Failed(f"{KIND} {self.name} is {stage}; there is nothing to roll back")

    def finish(self, memory: Memory) -> None:
        """Only the new cluster from now on. Raises Failed."""
        stage = self.spec().stage
        if stage != "cut-over":
            raise Failed(f"{KIND} {self.name} is in stage {stage}; finish comes after cut-over")
        self.go_to("done")
        memory.forget()

    def _cross(self, memory: Memory, ways: tuple[str, str, str, str]) -> None:
        """Over the fence: nothing is written anywhere while sidecars go, one by one, from one cluster to the other."""
        before, _, switch, after = ways
        spec = self.spec()
        if spec.stage not in ways[:3]:
            raise Failed(f"{KIND} {self.name} is in stage {spec.stage}; this goes from {before} to {after}")
        began = time.monotonic()
        if spec.stage != switch:
            self._check(memory, before)
            if spec.stage == before:
                self.until("nothing has to be copied once more", spec.epoch, lambda one: one.unsure == 0, SETTLES_WITHIN_S)
            began = time.monotonic()
            self._fence(memory, ways)
        self.go_to(after)
        pause = time.monotonic() - began
        # Both have the same at this moment, and what is written from now on is copied the other way.
        memory.direction, memory.witness = after, witness(self.seen())
        memory.save()
        self.say(f"{KIND} {self.name}: {after}; writes waited {pause * 1000:.0f} ms at most")

    def _fence(self, memory: Memory, ways: tuple[str, str, str, str]) -> None:
        """Writes wait, are copied, and will go to the other cluster; or all is as it was before, one step after the other."""
        before, fence, switch, _ = ways
        way_back = [before]
        try:
            epoch = self.go_to(fence, seconds=self.fence_s)
            self.until("all that was written is copied", epoch, lambda one: one.is_drained, self.fence_s)
            self._check(memory, before)
            way_back = [fence, before]
            self.go_to(switch, seconds=self.fence_s)
        except Failed as failed:
            for stage in way_back:
                self.go_to(stage)
            raise Failed(f"back to {before}, nothing has changed: {failed}") from failed

    def _check(self, memory: Memory, direction: str) -> None:
        """The last comparison was clean, and holds: whoever copied since is still there and has lost nothing."""
        if memory.direction != direction or not memory.witness:
            raise Failed("the clusters have not been compared, or not with a clean result; run `midstream migrate compare`")
        now = witness(self.seen())
        if now != memory.witness:
            who = sorted(node for node in now.keys() | memory.witness.keys() if now.get(node) != memory.witness.get(node))
            raise Failed(
                f"since the last comparison sidecars came or went, or lost copies ({', '.join(who)}); run `midstream migrate compare --repair` again"
            )


def serving(spec: RedisMigrationSpec) -> tuple[str, str]:
    """The cluster that serves, and the other one."""
    return (spec.to, spec.from_) if spec.stage in MOVED else (spec.from_, spec.to)


def _state(one: Sidecar) -> str:
    if not one.connected:
        return f"{one.node} is not connected (if it is gone for good, say --without {one.node})"
    if one.refusal:
        return f"{one.node} refused it: {one.refusal}"
    return f"{one.node}: {one.settling} under way from before, {one.dirty} to copy, {one.unsure} once more, {one.failed} failed, epochs {one.epochs}"
