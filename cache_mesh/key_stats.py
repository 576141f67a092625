"""The kind RedisKeyStats: hot keys and big keys of a listener, in its sidecars' metrics."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from cache_mesh.routes import check_redis_listeners
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.values import Duration, Spec, parse_duration_ms
from xds.messages import message, type_url


def _window(text: str) -> str:
    if not 1_000 <= parse_duration_ms(text) <= 3_600_000:
        raise ValueError("a window is between 1s and 1h")
    return text


class RedisKeyStatsSpec(Spec):
    """Lists of the last whole window."""

    listeners: Annotated[list[str], Field(min_length=1)]
    top: Annotated[int, Field(ge=1, le=100)] = 20
    sample: Annotated[int, Field(ge=1, le=10_000)] = 16  # one command in so many is counted
    big_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 100_000  # values and replies from this size on
    window: Annotated[Duration, AfterValidator(_window)] = "1m"


def register(kinds: Kinds) -> None:
    kinds.add(Kind("RedisKeyStats", RedisKeyStatsSpec, check_redis_listeners, compile_key_stats))


def compile_key_stats(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.redis.v1.RedisKeyStats")(name=owner.name, listeners=spec.listeners)
    result.top, result.sample, result.big_bytes = spec.top, spec.sample, spec.big_bytes
    result.window_ms = parse_duration_ms(spec.window)
    yield Compiled(type_url("midstream.redis.v1.RedisKeyStats"), owner.name, result, owner)
