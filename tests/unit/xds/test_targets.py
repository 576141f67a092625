"""Which control plane a client asks next."""

from collections import Counter
from random import Random

from xds.client.targets import Targets


def test_equals_are_taken_in_an_order_of_each_clients_own():
    first = Counter(Targets(["a,b,c"], Random(seed)).current for seed in range(3000))
    assert set(first) == {"a", "b", "c"}
    assert min(first.values()) > 800  # of 1000; it is the same every time


def test_when_one_of_equals_is_lost_its_clients_spread_over_the_others():
    second = Counter()
    for seed in range(3000):
        targets = Targets(["a,b,c"], Random(seed))
        targets.take("a")
        targets.lost(answered=True)
        second[targets.current] += 1
    assert set(second) == {"b", "c"}
    assert min(second.values()) > 1300


def test_all_are_asked_before_one_is_asked_again():
    targets = Targets(["a,b", "c"], Random(1))
    asked = []
    for _ in range(4):
        asked.append(targets.current)
        targets.lost(answered=False)
    assert sorted(asked[:2]) == ["a", "b"]
    assert asked[2:] == ["c", asked[0]]


def test_only_those_of_an_earlier_rank_are_returned_to():
    targets = Targets(["a,b", "c"], Random(1))
    assert list(targets.preferred) == []
    targets.take("b")
    assert list(targets.preferred) == []
    targets.take("c")
    assert sorted(targets.preferred) == ["a", "b"]
    targets.lost(answered=True)
    assert targets.current in ("a", "b")
