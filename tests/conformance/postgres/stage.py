"""One PostgreSQL of the distribution, with its contrib modules, and a sidecar before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh_core.lab import Postgres, ports
from tests.integration.process import Sidecar

from ..suite import HOST
from .suite import Side, Suite

# More than any suite's connections at a time: a client that leaves state in its session keeps its server connection.
POOL = 80
OBJECTS = """
---
apiVersion: midstream/v1
kind: Database
metadata: {{name: {name}}}
spec:
  engine: postgres
  pool: {{mode: transaction, size: {pool}}}
  shards: [{{name: s0, primary: "{host}:{server}/{name}"}}]
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "{host}:{port}", protocol: postgres, backend: {name}}}
"""


class Stage:
    """The server. Everybody may log in without a password, so that the mesh needs no credentials and users stay who they are."""

    def __init__(self) -> None:
        self.server = Postgres("conformance", auth="trust", distribution=True, settings={"max_connections": "400"})

    def __enter__(self) -> Stage:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()

    def version(self) -> str:
        return f"PostgreSQL {self.server.sql('show server_version')[0][0]}"

    @contextmanager
    def side(self, name: str, suite: Suite, folder: Path) -> Iterator[Side]:
        """Fresh databases, reached directly or through a sidecar of their own."""
        self._create(suite)
        if name == "direct":
            yield Side(name, (self.server.port,) * len(suite.databases), suite.databases)
        else:
            free = tuple(ports.free() for _ in suite.databases)
            objects = "".join(
                OBJECTS.format(name=database, port=port, host=HOST, server=self.server.port, pool=POOL)
                for database, port in zip(suite.databases, free, strict=True)
            )
            sidecar = Sidecar(objects, folder / "sidecar")
            sidecar.start()
            try:
                yield Side(name, free, suite.databases)
            finally:
                sidecar.stop()
                (folder / "sidecar.log").write_text(sidecar.log)

    def _create(self, suite: Suite) -> None:
        for database in suite.databases:
            self.server.sql(f'drop database if exists "{database}" with (force)')
            self.server.sql(f'create database "{database}" template template0')
            for extension in suite.extensions:
                self.server.sql(f'create extension "{extension}"', database=database)
            for statement in suite.statements:
                self.server.sql(statement, database=database)
