"""What a suite of PostgreSQL is told."""

from __future__ import annotations

from dataclasses import dataclass

from .. import suite
from ..suite import HOST

USER = "postgres"


@dataclass(frozen=True)
class Side:
    """Where a suite finds its databases: `ports[n]` leads to `databases[n]`, for the superuser, without a password."""

    name: str  # "direct" or "mesh"
    ports: tuple[int, ...]
    databases: tuple[str, ...]

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def database(self) -> str:
        return self.databases[0]

    @property
    def libpq(self) -> dict[str, str]:
        """The environment variables of libpq and asyncpg."""
        return {"PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": USER, "PGDATABASE": self.database, "PGSSLMODE": "disable"}


class Suite(suite.Suite[Side]):
    """With the databases that it wants."""

    databases: tuple[str, ...]
    extensions: tuple[str, ...] = ()  # created in each database
    statements: tuple[str, ...] = ()  # run in each database
