"""Outcomes of JUnit XML, as pytest and unittest-xml-reporting write it."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Results(dict[str, Outcome]):
    """Outcome by test, and what the failed ones said."""

    def __init__(self) -> None:
        super().__init__()
        self.why: dict[str, str] = {}

    def count(self, outcome: Outcome) -> int:
        return sum(1 for one in self.values() if one is outcome)


def read(report: Path) -> Results:
    """Of a file, or of all files of a folder; empty when the run left none."""
    results = Results()
    files = sorted(report.glob("*.xml")) if report.is_dir() else [report] if report.exists() else []
    for file in files:
        for case in xml.parse(file).iter("testcase"):
            _add(results, case)
    return results


def _add(results: Results, case: xml.Element) -> None:
    name = f"{case.get('classname', '')}::{case.get('name', '')}"
    failure = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
    if failure is not None:
        results.why[name] = "\n".join(filter(None, (failure.get("message"), failure.text)))
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.SKIPPED if case.find("skipped") is not None else Outcome.PASSED
    # A test may stand there twice (its tear-down failed, it has subtests): it passed only if all of it did.
    if results.get(name) is not Outcome.FAILED:
        results[name] = outcome
