"""What a suite says of itself, and what it is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
USER = "postgres"
TEST_SECONDS = 120  # the slowest test of any suite needs 20 s directly; a test that hangs must not hang the suite


@dataclass(frozen=True)
class Sdist:
    """A source distribution on PyPI."""

    project: str
    version: str


@dataclass(frozen=True)
class Git:
    """A tag of a repository: for projects that leave the tests out of their sdist."""

    project: str
    url: str
    version: str


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


@dataclass(frozen=True)
class Command:
    """How to run a suite: `argv[0]` is a program of its virtual environment; it leaves JUnit XML in `report` (a file or a folder)."""

    argv: list[str]
    folder: Path
    report: Path
    env: dict[str, str] = field(default_factory=dict)


class Suite(ABC):
    """One client's own tests."""

    name: str
    source: Sdist | Git
    requirements: tuple[str, ...]  # of its virtual environment
    databases: tuple[str, ...]
    extensions: tuple[str, ...] = ()  # created in each database
    statements: tuple[str, ...] = ()  # run in each database
    deadline_s = 1800

    @abstractmethod
    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        """`tests` is the unpacked source; `scratch` an empty folder for what the run leaves behind; `only`: of these tests, by the names
        that they have in the report (others may be run as well)."""


def pytest(report: Path, only: Sequence[str], *words: str) -> list[str]:
    """The words of a pytest run, each test with a deadline of its own."""
    timeout = ["--timeout", str(TEST_SECONDS), "-p", "no:cacheprovider"]
    functions = sorted({name.rpartition("::")[2].partition("[")[0] for name in only})
    chosen = ["-k", " or ".join(functions)] if only else []
    return ["python", "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", *timeout, *chosen, *words]
