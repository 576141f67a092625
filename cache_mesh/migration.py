"""The kind RedisMigration: keys of one cluster on their way to another, while clients go on. `midstream migrate` takes it from stage to stage."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, get_args

from pydantic import Field

from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Spec
from xds.messages import message, type_url

KIND = "RedisMigration"
TYPE_URL = type_url("midstream.redis.v1.RedisMigration")
# What sidecars tell the control plane of while one is in force.
SERIES = "midstream_redis_migration_"

Stage = Literal["prepared", "dual-write", "fence", "switch", "cut-over", "fence-back", "switch-back", "done"]
STAGES: tuple[Stage, ...] = get_args(Stage)
# Where `to` serves.
MOVED = frozenset({"switch", "cut-over", "fence-back", "done"})


class RedisMigrationSpec(Spec):
    """Of the keys that `from` has, those with one of the prefixes, as the cluster names them; without prefixes all."""

    from_: Name = Field(alias="from")
    to: Name
    prefixes: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(default_factory=list)
    stage: Stage = "prepared"
    epoch: Annotated[int, Field(ge=0, lt=1 << 32)] = 0  # grows with the stage's changes; sidecars tell it back


def register(kinds: Kinds) -> None:
    kinds.add(Kind(KIND, RedisMigrationSpec, check, compile_migration))


def check(found: Authored, world: World) -> Iterator[Problem]:
    spec = found.spec
    yield from reference(found, "spec.from", "RedisCluster", spec.from_, world)
    yield from reference(found, "spec.to", "RedisCluster", spec.to, world)
    if spec.from_ == spec.to:
        yield found.problem("spec.to", "is where the keys are", "name another RedisCluster")
    for index, prefix in enumerate(spec.prefixes):
        if any(prefix.startswith(other) for other in spec.prefixes[:index] + spec.prefixes[index + 1 :]):
            yield found.problem(f"spec.prefixes[{index}]", f"{prefix!r} begins with another one", "keep the shorter one only")
    for other in world.all(KIND):
        if other is found:
            break
        both = {other.spec.from_, other.spec.to} & {spec.from_, spec.to}
        if both:
            path = "spec.from" if spec.from_ in both else "spec.to"
            reason = f"RedisCluster {min(both)} is in {KIND} {other.name} ({other.document.file}) already"
            yield found.problem(path, reason, "one cluster has one migration at a time")


def compile_migration(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.redis.v1.RedisMigration")(name=owner.name, to=spec.to, prefixes=spec.prefixes, epoch=spec.epoch)
    setattr(result, "from", spec.from_)
    result.stage = spec.stage.upper().replace("-", "_")
    yield Compiled(TYPE_URL, owner.name, result, owner)
