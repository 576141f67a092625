"""The Redis family."""

from typing import TYPE_CHECKING

from mesh_core.registry import Registry

if TYPE_CHECKING:
    import typer

    from mesh_core.model.kinds import Kinds


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocol."""
    registry.objects(_objects)
    registry.report("midstream_redis_migration_", needed_by="type.googleapis.com/midstream.redis.v1.RedisMigration")
    registry.command(_commands)


def _objects(kinds: "Kinds") -> None:
    from cache_mesh import key_stats, migration, mirror, redis, routes

    redis.register(kinds)
    routes.register(kinds)
    key_stats.register(kinds)
    mirror.register(kinds)
    migration.register(kinds)


def _commands(app: "typer.Typer") -> None:
    from cache_mesh.migrate import commands

    commands.add_to(app)
