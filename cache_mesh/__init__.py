"""The Redis family."""

from mesh_core.registry import Registry


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocol."""
    from cache_mesh import redis

    redis.register(registry.kinds)
