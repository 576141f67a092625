"""asyncpg: asyncio, the extended protocol alone, binary formats, its own cache of prepared statements."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ...suite import Command, Sdist, pytest
from ..suite import Side, Suite

VERSION = "0.32.0"
# It counts what a client has written before it hears of an error: on a busy machine it fails in half the runs, also directly.
RACE = "tests/test_execute.py::TestExecuteMany::test_executemany_server_failure_during_writes"


class Asyncpg(Suite):
    """With PGHOST it uses the server that is there, and leaves out the tests that change the server's own settings."""

    name = "asyncpg"
    source = Sdist("asyncpg", VERSION)
    requirements = (f"asyncpg=={VERSION}", "distro", "pytest>=8.4,<10", "pytest-timeout>=2.4,<3")
    databases = ("asyncpg",)

    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        # Beside the sdist's own `asyncpg`, which is not compiled, they would import that.
        shutil.copytree(tests / "tests", scratch / "tests")
        (scratch / "pytest.ini").touch()  # or pytest takes that of the folder above
        report = scratch / "report.xml"
        return Command(pytest(report, only, f"--deselect={RACE}", "tests"), scratch, report, side.libpq)
