"""psycopg 3: libpq's pipeline mode, prepared statements, COPY, two-phase commit, server-side cursors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...suite import HOST, Command, Git, pytest
from ..suite import USER, Side, Suite

VERSION = "3.3.9"


class Psycopg(Suite):
    """Its sdist has no tests, so they come from its repository; without access to that the suite is not run."""

    name = "psycopg"
    source = Git("psycopg", "https://github.com/psycopg/psycopg.git", VERSION)
    requirements = (
        f"psycopg[binary]=={VERSION}",
        "psycopg-pool",
        "pytest>=8.4,<10",
        "pytest-timeout>=2.4,<3",
        "anyio>=4",
        "dnspython>=2.1",
        "shapely>=2.0",
        "numpy",
    )
    databases = ("psycopg",)

    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        report = scratch / "report.xml"
        dsn = f"host={HOST} port={side.port} user={USER} dbname={side.database} sslmode=disable"
        # `timing`, `slow` and `flakey` assert how long something takes; mypy and dns need what is not here.
        words = ["--test-dsn", dsn, "-m", "not (timing or slow or flakey or mypy or dns or crdb)", "tests"]
        return Command(pytest(report, only, *words), tests, report)
