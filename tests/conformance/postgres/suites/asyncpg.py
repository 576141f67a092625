"""asyncpg: asyncio, the extended protocol alone, binary formats, its own cache of prepared statements."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..suite import Command, Sdist, Side, Suite, pytest

VERSION = "0.32.0"


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
        return Command(pytest(report, only, "tests"), scratch, report, side.libpq)
