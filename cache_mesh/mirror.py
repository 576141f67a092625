"""The kind RedisMirror: a share of a listener's commands to a second cluster, to compare what it answers."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from cache_mesh.routes import Prefix, check_redis_listeners
from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Percent, Spec
from xds.messages import enum_values, message, type_url


class RedisMirrorSpec(Spec):
    """Clients never wait for the mirror and never see it."""

    listeners: Annotated[list[str], Field(min_length=1)]
    backend: Name
    percent: Percent = 1.0
    class_: list[Literal["read", "write"]] = Field(default_factory=lambda: ["read"], alias="class", min_length=1)
    prefixes: list[Prefix] = Field(default_factory=list)


def register(kinds: Kinds) -> None:
    kinds.add(Kind("RedisMirror", RedisMirrorSpec, check, compile_mirror))


def check(found: Authored, world: World) -> Iterator[Problem]:
    yield from check_redis_listeners(found, world)
    yield from reference(found, "spec.backend", "RedisCluster", found.spec.backend, world)


def compile_mirror(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.redis.v1.RedisMirror")(name=owner.name, listeners=spec.listeners, backend=spec.backend, percent=spec.percent)
    classes = enum_values("midstream.policy.v1.Class")
    result.classes.extend(classes[name.upper()] for name in spec.class_)
    result.prefixes.extend(spec.prefixes)
    yield Compiled(type_url("midstream.redis.v1.RedisMirror"), owner.name, result, owner)
