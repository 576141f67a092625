"""The SQL family: PostgreSQL, sharding, the planner."""

from typing import TYPE_CHECKING

from mesh_core.registry import Prober, Registry, UpcallHandler
from xds.messages import type_url

if TYPE_CHECKING:
    from mesh_core.model.kinds import Kinds


def register(registry: Registry) -> None:
    """Adds the family's objects and listener protocols."""
    registry.objects(_objects)
    registry.upcall("plan", _planner, needed_by=type_url("midstream.sql.v1.Database"))
    registry.prober(_prober, needed_by=type_url("midstream.sql.v1.Database"))


def _objects(kinds: "Kinds") -> None:
    from db_mesh import model

    model.register(kinds)


def _prober() -> Prober:
    from db_mesh.probe import Prober

    return Prober()


def _planner() -> UpcallHandler:
    """Imports sqlglot and asyncpg, which only a sidecar that carries SQL needs."""
    from db_mesh.planner.handler import Planner

    return Planner()
