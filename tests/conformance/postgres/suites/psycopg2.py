"""psycopg2: libpq, the simple protocol, asynchronous and green connections, large objects, replication."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...suite import HOST, Command, Sdist, pytest
from ..suite import USER, Side, Suite

VERSION = "2.9.13"


class Psycopg2(Suite):
    """Its sdist for the tests, its binary package for the module."""

    name = "psycopg2"
    source = Sdist("psycopg2", VERSION)
    requirements = (f"psycopg2-binary=={VERSION}", "pytest>=8.4,<10", "pytest-timeout>=2.4,<3")
    databases = ("psycopg2",)
    extensions = ("hstore",)

    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        report = scratch / "report.xml"
        env = {
            "PSYCOPG2_TESTDB": side.database,
            "PSYCOPG2_TESTDB_HOST": HOST,
            "PSYCOPG2_TESTDB_PORT": str(side.port),
            "PSYCOPG2_TESTDB_USER": USER,
            "PSYCOPG2_TEST_REPL_DSN": "",  # the same server
        }
        return Command(pytest(report, only, "tests"), tests, report, env)
