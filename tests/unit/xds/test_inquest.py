"""Who is to blame for a response that was refused as a whole."""

import random

import pytest

from xds.protocol import inquest
from xds.protocol.inquest import Inquest
from xds.protocol.report import field_in
from xds.protocol.resource import Resource

URL = "type.googleapis.com/test"


def resources(count: int) -> list[Resource]:
    return [Resource(URL, f"r{number}", b"1") for number in range(count)]


def examine(found: Inquest, everything: list[Resource], bad: set[str]) -> int:
    """A client that refuses what has a bad one in it, until it is over; how many responses that takes."""
    trials = 0
    while group := found.next(everything):
        trials += 1
        if bad & {one.name for one in group}:
            found.refused(group, "no")
        else:
            found.taken(group)
    return trials


@pytest.mark.parametrize(("count", "bad", "at_most"), [(1, 1, 0), (2, 1, 2), (2, 2, 2), (1000, 1, 20), (1000, 50, 500), (200, 200, 400)])
def test_the_guilty_are_found_exactly(count: int, bad: int, at_most: int) -> None:
    everything = resources(count)
    guilty = set(random.Random(count).sample([one.name for one in everything], bad))
    found = Inquest()
    found.refused(everything, "no")
    assert examine(found, everything, guilty) <= at_most
    assert found.guilty.keys() == guilty
    assert not found.suspects


def test_what_changes_meanwhile_is_no_suspect_any_more() -> None:
    everything = resources(4)
    found = Inquest()
    found.refused(everything, "no")
    assert found.next(everything) == tuple(everything[:2])
    later = [Resource(URL, one.name, b"2") for one in everything]
    assert found.next(later) == ()
    assert not found.suspects and not found.guilty


def test_what_came_along_with_a_half_is_suspected_with_it() -> None:
    everything, late = resources(4), Resource(URL, "late", b"1")
    found = Inquest()
    found.refused(everything, "no")
    half = found.next([*everything, late])
    found.refused([*half, late], "no")
    examine(found, [*everything, late], {"late", "r3"})
    assert found.guilty.keys() == {"late", "r3"}


def test_whoever_is_left_after_too_many_trials_is_held_to_be_guilty(monkeypatch) -> None:
    monkeypatch.setattr(inquest, "MAX_TRIALS", 3)
    everything = resources(64)
    found = Inquest()
    found.refused(everything, "no")
    assert examine(found, everything, {"r5"}) == 3
    assert "r5" in found.guilty
    assert not found.suspects


def test_the_field_is_read_from_reasons_as_envoy_words_them() -> None:
    said = "Proto constraint validation failed (ClusterValidationError.ConnectTimeout: value must be greater than 0s)"
    assert field_in(said) == "connect_timeout"
    nested = "(ListenerValidationError.FilterChains: embedded message failed validation | caused by FilterChainValidationError.Name: too short)"
    assert field_in(nested) == "filter_chains.name"
    assert field_in("no such thing") == ""
