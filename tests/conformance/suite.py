"""What a suite says of itself, and what it is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

HOST = "127.0.0.1"
TEST_SECONDS = 120  # the slowest test of any suite needs 20 s directly; a test that hangs must not hang the suite

Side = TypeVar("Side")
Told = TypeVar("Told", covariant=True)
S = TypeVar("S", contravariant=True)


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
class Command:
    """How to run a suite: `argv[0]` is a program of its virtual environment; it leaves JUnit XML in `report` (a file or a folder)."""

    argv: list[str]
    folder: Path
    report: Path
    env: dict[str, str] = field(default_factory=dict)


class Suite(ABC, Generic[Side]):
    """One client's own tests; `Side` is what they are told of their server."""

    name: str
    source: Sdist | Git
    requirements: tuple[str, ...]  # of its virtual environment
    deadline_s = 1800

    @abstractmethod
    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        """`tests` is the unpacked source; `scratch` an empty folder for what the run leaves behind; `only`: of these tests, by the names
        that they have in the report (others may be run as well)."""


class Stage(Protocol[S, Told]):
    """The servers, and the sidecar before them."""

    def side(self, name: str, suite: S, folder: Path) -> AbstractContextManager[Told]:
        """Servers without data, `name`: reached "direct" or through the "mesh"."""


def pytest(report: Path, only: Sequence[str], *words: str) -> list[str]:
    """The words of a pytest run, each test with a deadline of its own."""
    timeout = ["--timeout", str(TEST_SECONDS), "-p", "no:cacheprovider"]
    functions = sorted({name.rpartition("::")[2].partition("[")[0] for name in only})
    chosen = ["-k", " or ".join(functions)] if only else []
    return ["python", "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", *timeout, *chosen, *words]
