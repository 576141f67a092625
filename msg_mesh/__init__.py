"""The Kafka family."""

from mesh_core.registry import Registry


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocol."""
    from msg_mesh import kafka

    kafka.register(registry.kinds)
