"""The Kafka family."""

from typing import TYPE_CHECKING

from mesh_core.registry import Registry

if TYPE_CHECKING:
    from mesh_core.model.kinds import Kinds


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocol."""
    registry.objects(_objects)


def _objects(kinds: "Kinds") -> None:
    from msg_mesh import kafka, records, stats

    kafka.register(kinds)
    records.register(kinds)
    stats.register(kinds)
