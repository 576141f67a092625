"""Which sidecars try a change first."""

from itertools import pairwise

import pytest

from mesh_core.control.rollout import Step

NODES = [f"shop-{number}" for number in range(200)]


def cohort(step: str, nodes: list[str]) -> set[str]:
    return set(filter(Step(step).cohort(nodes), nodes))


@pytest.mark.parametrize(("step", "count"), [("1%", 2), ("10%", 20), ("50%", 100), ("99%", 198), ("100%", 200)])
def test_a_part_is_as_large_as_it_says(step, count):
    assert len(cohort(step, NODES)) == count


def test_a_part_of_few_is_one_at_least():
    assert len(cohort("1%", NODES[:3])) == 1
    assert cohort("1%", []) == set()


def test_larger_parts_contain_smaller_ones():
    parts = [cohort(step, NODES) for step in ("5%", "20%", "21%", "80%")]
    assert all(smaller < larger for smaller, larger in pairwise(parts))


def test_a_pattern_names_its_own():
    assert cohort("shop-1?", NODES) == {f"shop-1{digit}" for digit in range(10)}
