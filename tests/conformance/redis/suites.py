"""redis-py's tests of the commands and of its connections, in both versions of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..suite import HOST, Command, Sdist, Suite, pytest

VERSION = "7.4.1"
FILES = ("commands", "pipeline", "pubsub", "scripting", "function", "lock", "encoding", "monitor", "connection_pool")
# They want the certificates of the project's own servers, or the modules of Redis Stack: they fail on any other server.
LEFT_OUT = "not onlycluster and not redismod and not ssl"


class RedisPy(Suite[int]):
    """Told the port. `only` some of the tests that it reports."""

    resp: int
    source = Sdist("redis", VERSION)
    requirements = (
        f"redis=={VERSION}",
        *("pytest>=8.4,<9", "pytest-asyncio>=1.1,<2", "pytest-timeout>=2.4,<3", "pytest-cov>=6,<8"),
        *("ujson>=5", "numpy>=2", "mock>=5", "pybreaker>=1.4"),
    )

    def command(self, tests: Path, scratch: Path, side: int, only: Sequence[str]) -> Command:
        report = scratch / "report.xml"
        # pytest's own tracebacks parse the whole file for each, which takes seconds for a file of that length.
        words = [f"--redis-url=redis://{HOST}:{side}", f"--protocol={self.resp}", "--timeout=30", "--tb=native", "-m", LEFT_OUT]
        return Command(pytest(report, only, *words, *(f"tests/test_{name}.py" for name in FILES)), tests, report)


class RedisPy2(RedisPy):
    """RESP2."""

    name, resp = "redis-py-resp2", 2


class RedisPy3(RedisPy):
    """RESP3."""

    name, resp = "redis-py-resp3", 3


SUITES: dict[str, type[RedisPy]] = {suite.name: suite for suite in (RedisPy2, RedisPy3)}
