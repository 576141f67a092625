"""What a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from .compare import Verdict
from .junit import Outcome, Results

ROW = "{:<24}{:>22}{:>22}{:>14}"
WHY = 300  # characters of a failure's message: its last line and what led to it


def table(verdicts: Sequence[Verdict], missing: dict[str, str]) -> str:
    """Both counts of every suite; then the differences by name."""
    lines = [ROW.format("suite", "direct", "through Midstream", "differences"), ROW.format("", "passed (of)", "passed (of)", "")]
    lines += [ROW.format(one.suite, _counts(one.direct), _counts(one.mesh), one.differs) for one in verdicts]
    lines += [f"{suite:<24}not run: {why}" for suite, why in missing.items()]
    for one in verdicts:
        lines += [f"\n{one.suite}: {test}\n    accepted: {reason}" for test, reason in one.accepted.items()]
        lines += [f"\n{one.suite}: {test}\n    NOT EXPLAINED: {_why(one.mesh, test)}" for test in one.unexplained]
    return "\n".join(lines)


def _counts(results: Results) -> str:
    return f"{results.count(Outcome.PASSED)} ({len(results) - results.count(Outcome.SKIPPED)})"


def _why(results: Results, test: str) -> str:
    outcome = results.get(test)
    if outcome is Outcome.FAILED:
        return " / ".join(results.why[test].strip()[-WHY:].split("\n"))
    return "skipped" if outcome is Outcome.SKIPPED else "it did not run"
