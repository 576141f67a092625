"""What the verbs do: the stages, and the walks between them."""

import sys
import time
from typing import Any

from cache_mesh.migrate.memory import Memory
from cache_mesh.migrate.servers import Cluster, Failed, Secrets
from cache_mesh.migrate.sidecars import witness
from cache_mesh.migrate.stages import Stages, serving
from cache_mesh.migrate.walk import Cursors, Mode, Result, Walk
from cache_mesh.migration import KIND, RedisMigrationSpec
from cache_mesh.redis import RedisClusterSpec
from mesh_core.control.client import RestClient
from mesh_core.model.secrets import SecretSpec
from mesh_core.sidecar.run import default_state_folder

# Each repairs what the one before could not, or what came meanwhile by another way than through sidecars.
COMPARISONS = 5
SAVE_EVERY_S = 0.5
SHOW_EVERY_S = 2.0


class Drive:
    """One migration, driven from this process; any other may take over when it is gone."""

    def __init__(self, client: RestClient, name: str, absent: frozenset[str], fence_s: float) -> None:
        self._client = client
        self._name = name
        self._stages = Stages(client, name, absent, _say, fence_s)

    def start(self, from_: str, to: str, prefixes: list[str]) -> None:
        wanted = {"from": from_, "to": to, "prefixes": prefixes}
        found = self._stages.object()
        if found is not None:
            spec = self._stages.spec()
            if [spec.from_, spec.to, spec.prefixes] != [from_, to, prefixes]:
                raise Failed(f"there is a {KIND} {self._name} already, from {spec.from_} to {spec.to}; choose another name, or delete it")
            if spec.stage != "prepared":
                _say(f"{KIND} {self._name} has begun already: {spec.stage}")
                return
        Memory.load(default_state_folder(), self._name, []).forget()
        self._stages.start(wanted)
        self._memory().save()
        _say(f"{KIND} {self._name}: dual-write; next: midstream migrate backfill {self._name}")

    async def backfill(self, rate: int) -> None:
        spec, memory = self._known("dual-write")
        shown = _Shown("backfill")

        async def progress(result: Result, cursors: Cursors, layout: Any) -> None:
            if shown.is_time_to_save():
                memory.walk, memory.layout = dict(cursors), layout
                memory.save()
            shown.show(result)

        if memory.walk:
            _say("backfill: goes on where it was stopped")
        # While it copies, an earlier comparison says nothing.
        memory.witness = {}
        memory.save()
        result = await self._walk(spec, memory, Mode.BACKFILL, rate, progress)
        memory.walk, memory.layout, memory.backfilled = {}, None, True
        memory.save()
        shown.show(result, last=True)

    async def compare(self, rate: int, *, repair: bool) -> None:
        """Raises Failed where the clusters differ."""
        spec, memory = self._known("dual-write", "cut-over")
        for _ in range(COMPARISONS if repair else 1):
            before = self._settled(spec)
            memory.witness = {}
            memory.save()
            shown = _Shown("compare")

            async def progress(result: Result, cursors: Cursors, layout: Any, shown: "_Shown" = shown) -> None:
                shown.show(result)

            result = await self._walk(spec, Memory(memory.path), Mode.REPAIR if repair else Mode.COMPARE, rate, progress)
            shown.show(result, last=True)
            for line in result.differences:
                _say(f"  {line}")
            if result.clean and witness(self._stages.seen()) == before:
                memory.direction, memory.witness = spec.stage, before
                memory.save()
                _say(f"the clusters are the same; next: midstream migrate {'cut-over' if spec.stage == 'dual-write' else 'finish'} {self._name}")
                return
        raise Failed(f"the clusters are not the same: {result.different} keys differ, {result.copied} were copied just now")

    def cut_over(self) -> None:
        self._stages.cut_over(self._memory())

    def roll_back(self) -> None:
        self._stages.roll_back(self._memory())
        _say(f"{KIND} {self._name}: {self._stages.spec().stage}")

    def finish(self) -> None:
        spec = self._stages.spec()
        self._stages.finish(self._memory())
        what = f"give the Listeners that name {spec.from_} the backend {spec.to}"
        if spec.prefixes:
            what = f"add RedisRoutes for {', '.join(spec.prefixes)} to {spec.to}"
        _say(f"{KIND} {self._name}: done. To have it without this object: {what}, and delete it, both in one change")

    def run(self, from_: str, to: str, prefixes: list[str], rate: int) -> None:
        import asyncio

        self.start(from_, to, prefixes)
        stage = self._stages.spec().stage
        if stage == "dual-write":
            if not self._memory().backfilled:
                asyncio.run(self.backfill(rate))
            asyncio.run(self.compare(rate, repair=True))
        if stage in ("dual-write", "fence", "switch"):
            self.cut_over()
        _say(f"next: midstream migrate finish {self._name}, or the way back: midstream migrate roll-back {self._name}")

    def status(self) -> None:
        spec = self._stages.spec()
        _say(f"{KIND} {self._name}: {spec.from_} -> {spec.to}, {spec.stage} (epoch {spec.epoch})")
        memory = self._memory()
        _say(f"last clean comparison: {'holds, if nothing below has changed' if memory.witness and memory.direction == spec.stage else 'none'}")
        for one in self._stages.seen():
            where = "in force" if one.is_at(spec.epoch) else "not in force yet" if one.connected else "not connected"
            _say(
                f"{one.node}: {where}; {one.settling} under way from before, {one.dirty} to copy, {one.unsure} once more, {one.held} waiting, "
                f"{one.copied} copied, {one.failed} failed, {one.lost} lost"
            )

    def _known(self, *stages: str) -> tuple[RedisMigrationSpec, Memory]:
        spec = self._stages.spec()
        if spec.stage not in stages:
            raise Failed(f"{KIND} {self._name} is in stage {spec.stage}; this is for {' and '.join(stages)}")
        return spec, self._memory()

    def _memory(self) -> Memory:
        spec = self._stages.spec()
        memory = Memory.load(default_state_folder(), self._name, [spec.from_, spec.to, spec.prefixes])
        self._stages.known.update(memory.nodes)
        memory.nodes = sorted(self._stages.known - self._stages.absent)
        return memory

    def _settled(self, spec: RedisMigrationSpec) -> dict[str, list]:
        """All copy, and nothing is under way that they do not know of."""
        return witness(self._stages.until("double writing is in force", spec.epoch, lambda one: one.settling == 0, 60.0))

    async def _walk(self, spec: RedisMigrationSpec, memory: Memory, mode: Mode, rate: int, progress: Any) -> Result:
        here, there = serving(spec)
        source, target = self._cluster(here), self._cluster(there)
        try:
            await source.open()
            await source.check_databases()
            await target.open()
            walk = Walk(source, target, spec.prefixes, mode, rate, progress)
            return await walk.run(memory.walk, memory.layout)
        finally:
            await source.close()
            await target.close()

    def _cluster(self, name: str) -> Cluster:
        return Cluster(name, self._spec_of("RedisCluster", name, RedisClusterSpec), self._secrets())

    def _secrets(self) -> Secrets:
        found = self._client.objects("Secret")["objects"]
        return Secrets({item["object"]["metadata"]["name"]: SecretSpec.model_validate(item["object"]["spec"]) for item in found})

    def _spec_of(self, kind: str, name: str, spec: type[Any]) -> Any:
        found = self._client.objects(kind, name)["objects"]
        if not found:
            raise Failed(f"there is no {kind} {name}")
        return spec.model_validate(found[0]["object"]["spec"])


class _Shown:
    """Progress, now and then."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = self._saved = time.monotonic()

    def is_time_to_save(self) -> bool:
        is_time = time.monotonic() - self._saved >= SAVE_EVERY_S
        if is_time:
            self._saved = time.monotonic()
        return is_time

    def show(self, result: Result, *, last: bool = False) -> None:
        if last or time.monotonic() - self._shown >= SHOW_EVERY_S:
            self._shown = time.monotonic()
            _say(f"{self._what}: {result.seen} keys, {result.copied} copied, {result.different} different{'' if last else ' so far'}")


def _say(line: str) -> None:
    print(line, flush=True, file=sys.stdout)
