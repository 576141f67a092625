"""The kind RedisRoutes: keys of a listener to several clusters, by their prefixes."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from mesh_core.model.builtin import ALL_LISTENERS, check_listeners
from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Spec
from xds.messages import message, type_url

Prefix = Annotated[str, Field(max_length=512)]


class ValueCompression(Spec):
    """Strings and values of hashes, compressed at the back end; `none` compresses nothing any more and reads what is."""

    algorithm: Literal["lz4", "zstd", "none"] = "lz4"
    min_bytes: Annotated[int, Field(ge=64, le=1 << 25)] = 1024  # shorter values are left as they are


class RedisRoute(Spec):
    """Keys with a prefix, to a cluster; `rewrite` stands in the place of the prefix there."""

    prefix: Prefix
    backend: Name
    rewrite: Prefix | None = None
    compression: ValueCompression | None = None
    scripts: bool = False  # only where keys are renamed: scripts may run, for they use no names but those in KEYS


class RedisRoutesSpec(Spec):
    """The longest prefix decides; what has none goes to the listener's own backend."""

    listeners: Annotated[list[str], Field(min_length=1)]
    routes: Annotated[list[RedisRoute], Field(min_length=1)]


def register(kinds: Kinds) -> None:
    kinds.add(Kind("RedisRoutes", RedisRoutesSpec, check, compile_routes, together=True))


def check_redis_listeners(found: Authored, world: World) -> Iterator[Problem]:
    """What is about Redis names listeners that speak it."""
    yield from check_listeners(found, world)
    for index, name in enumerate(found.spec.listeners):
        listener = world.get("Listener", name)
        if listener is not None and listener.spec.protocol != "redis":
            yield found.problem(f"spec.listeners[{index}]", f"Listener {name} speaks {listener.spec.protocol}", "name a redis listener")


def check(found: Authored, world: World) -> Iterator[Problem]:
    yield from check_redis_listeners(found, world)
    for index, route in enumerate(found.spec.routes):
        yield from reference(found, f"spec.routes[{index}].backend", "RedisCluster", route.backend, world)
    yield from _taken(found, world)


def _taken(found: Authored, world: World) -> Iterator[Problem]:
    """Two routes of one listener for one prefix: the later one is blamed, in the order of the set."""
    taken: dict[str, Authored] = {}
    for other in world.all("RedisRoutes"):
        if other is found:
            break
        if _meet(other, found):
            taken.update((route.prefix, other) for route in other.spec.routes)
    for index, route in enumerate(found.spec.routes):
        other = taken.setdefault(route.prefix, found)
        if other is not found or index != [one.prefix for one in found.spec.routes].index(route.prefix):
            where = f"RedisRoutes {other.name} ({other.document.file})" if other is not found else "a route above"
            yield found.problem(f"spec.routes[{index}].prefix", f"{route.prefix!r} is taken by {where}", "one prefix has one route")


def _meet(one: Authored, other: Authored) -> bool:
    """Whether a listener is of both."""
    here, there = set(one.spec.listeners), set(other.spec.listeners)
    return ALL_LISTENERS in here | there or bool(here & there)


def compile_routes(owner: Authored, world: World) -> Iterable[Compiled]:
    result = message("midstream.redis.v1.RedisRoutes")(name=owner.name, listeners=owner.spec.listeners)
    for route in owner.spec.routes:
        one = result.routes.add(prefix=route.prefix, backend=route.backend, scripts=route.scripts)
        if route.rewrite is not None:
            one.rewrite = route.rewrite
        if route.compression is not None:
            one.compression.algorithm = route.compression.algorithm.upper()
            one.compression.min_bytes = route.compression.min_bytes
    yield Compiled(type_url("midstream.redis.v1.RedisRoutes"), owner.name, result, owner)
