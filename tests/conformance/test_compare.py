"""What counts as a difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from .compare import Accepted, compare, expected
from .junit import Outcome, Results, read
from .report import table

JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="passes"/>
<testcase classname="a" name="fails"><failure message="no">trace</failure></testcase>
<testcase classname="a" name="errs"><error message="no connection"/></testcase>
<testcase classname="a" name="skips"><skipped message="not here"/></testcase>
<testcase classname="a" name="tears"/><testcase classname="a" name="tears"><error message="at its end"/></testcase>
</testsuite></testsuites>"""


def results(**outcomes: Outcome) -> Results:
    made = Results()
    made.update(outcomes)
    made.why = {name: "because" for name, outcome in outcomes.items() if outcome is Outcome.FAILED}
    return made


def test_a_difference_is_what_passed_directly_and_not_through_the_mesh() -> None:
    direct = results(same=Outcome.PASSED, lost=Outcome.PASSED, skipped=Outcome.PASSED, gone=Outcome.PASSED, broken=Outcome.FAILED)
    mesh = results(same=Outcome.PASSED, lost=Outcome.FAILED, skipped=Outcome.SKIPPED, broken=Outcome.FAILED)
    verdict = compare("s", direct, mesh, [])
    assert verdict.unexplained == ["lost", "skipped", "gone"] and not verdict.is_good


def test_a_test_that_only_passes_through_the_mesh_is_none() -> None:
    verdict = compare("s", results(a=Outcome.PASSED, b=Outcome.FAILED), results(a=Outcome.PASSED, b=Outcome.PASSED), [])
    assert verdict.differs == 0 and verdict.is_good


def test_accepted_differences_are_of_their_suite_and_name_alone() -> None:
    direct = results(**{"t[1]": Outcome.PASSED, "t[2]": Outcome.PASSED, "other": Outcome.PASSED})
    accepted = [Accepted("s", ("t[*]",), "why"), Accepted("another", ("other",), "no")]
    verdict = compare("s", direct, Results(), accepted)
    assert verdict.accepted == {"t[1]": "why", "t[2]": "why"} and verdict.unexplained == ["other"]


def test_a_suite_that_passed_nothing_proves_nothing() -> None:
    assert not compare("s", Results(), Results(), []).is_good


def test_outcomes_are_read_from_a_file_and_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text(JUNIT)
    for place in (tmp_path, tmp_path / "one.xml"):
        found = read(place)
        assert [str(found[f"a::{name}"]) for name in ("passes", "fails", "errs", "skips", "tears")] == [
            "passed", "failed", "failed", "skipped", "failed",
        ]  # fmt: skip
    assert read(tmp_path / "none.xml") == {}


def test_the_report_names_every_difference_and_says_why() -> None:
    direct = results(a=Outcome.PASSED, b=Outcome.PASSED)
    text = table([compare("s", direct, results(a=Outcome.FAILED), [Accepted("s", ("b",), "a reason")])], {"t": "no network"})
    assert "s: a\n    NOT EXPLAINED: because" in text and "s: b\n    accepted: a reason" in text and "not run: no network" in text


FILES = sorted(Path(__file__).parent.glob("*/expected.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_the_file_of_accepted_differences_is_whole(file: Path) -> None:
    assert all(one.reason for one in expected(file))


def test_a_difference_without_a_reason_is_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "expected.toml"
    wrong.write_text('[[difference]]\nsuite = "s"\ntests = ["a"]\n')
    with pytest.raises(ValueError, match="has suite, tests and reason"):
        expected(wrong)
