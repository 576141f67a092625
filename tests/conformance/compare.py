"""The verdict: what passed on the server itself and did not through the mesh, and which of that is accepted."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .junit import Outcome, Results


@dataclass(frozen=True)
class Accepted:
    """Differences that are understood: suite and tests by name (`*` stands for anything), and the reason."""

    suite: str
    tests: tuple[str, ...]
    reason: str

    def covers(self, suite: str, test: str) -> bool:
        return fnmatch.fnmatchcase(suite, self.suite) and any(fnmatch.fnmatchcase(test, pattern.replace("[", "[[]")) for pattern in self.tests)


@dataclass
class Verdict:
    """One suite: the counts of both sides and the differences by name."""

    suite: str
    direct: Results
    mesh: Results
    accepted: dict[str, str] = field(default_factory=dict)  # test -> reason
    unexplained: list[str] = field(default_factory=list)

    @property
    def differs(self) -> int:
        return len(self.accepted) + len(self.unexplained)

    @property
    def is_good(self) -> bool:
        """A suite that passed nothing directly proves nothing."""
        return not self.unexplained and self.direct.count(Outcome.PASSED) > 0


def compare(suite: str, direct: Results, mesh: Results, accepted: Sequence[Accepted]) -> Verdict:
    """A test that is missing or skipped on the mesh's side has not passed there."""
    verdict = Verdict(suite, direct, mesh)
    for test, outcome in direct.items():
        if outcome is not Outcome.PASSED or mesh.get(test) is Outcome.PASSED:
            continue
        reason = next((one.reason for one in accepted if one.covers(suite, test)), None)
        if reason is None:
            verdict.unexplained.append(test)
        else:
            verdict.accepted[test] = reason
    return verdict


def expected(file: Path) -> list[Accepted]:
    """The accepted differences. A suite without a reason, or a reason without tests, is a mistake of the file: ValueError."""
    found = []
    for entry in tomllib.loads(file.read_text()).get("difference", []):
        one = Accepted(entry.pop("suite", ""), tuple(entry.pop("tests", ())), entry.pop("reason", "").strip())
        if entry or not (one.suite and one.tests and one.reason):
            raise ValueError(f"{file.name}: a difference has suite, tests and reason, and nothing else: {one} {entry}")
        found.append(one)
    return found
