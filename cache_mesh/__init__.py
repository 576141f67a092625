"""The Redis family."""

from typing import TYPE_CHECKING

from mesh_core.registry import Registry

if TYPE_CHECKING:
    from mesh_core.model.kinds import Kinds


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocol."""
    registry.objects(_objects)


def _objects(kinds: "Kinds") -> None:
    from cache_mesh import key_stats, mirror, redis, routes

    redis.register(kinds)
    routes.register(kinds)
    key_stats.register(kinds)
    mirror.register(kinds)
