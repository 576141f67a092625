"""What the benchmark says of its figures, from figures that are given."""

from contextlib import ExitStack

from tests.bench import report
from tests.bench.ladder import Rung, Target, Workload, climb
from tests.bench.measure import Done, Sample, Spread, differences, ratios, verdict


class Fake:
    """Ours takes `cost`, the peer 10 us, in every round."""

    name = "fake"

    def __init__(self, *costs: float) -> None:
        self.workloads = [Workload("GET", "us", lambda rung, scale: Done(1, 50_000.0))]
        self.targets = [Target("GET", "route", ("envoy", "GET"), 0.6), Target("GET", "route", ("direct", "GET"), 0.9, what="rate")]
        self.costs = costs

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        return [Rung(name, "127.0.0.1:1", None) for name in ("direct", "route", "envoy")]


def measured(*costs: float):
    fake = Fake(*costs)
    with ExitStack() as stack:
        results = climb(fake, fake.start(stack, 1), len(costs), 1, lambda line: None)
    results.samples["GET", "route"] = [Sample(cost * 1e-6, 48_000.0) for cost in costs]
    results.samples["GET", "envoy"] = [Sample(10e-6, 40_000.0) for _ in costs]
    return results


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([1.0, 4.0, 9.0], [2.0, 4.0, 6.0]) == Spread(1.0, 0.5, 1.5)


def test_what_is_added_is_told_in_milliseconds() -> None:
    assert differences([3.0, 5.0, 4.0], [1.0, 2.0, 3.0]) == Spread(2.0, 1.0, 3.0)
    found = report.Verdict(Target("GET", "route", ("direct", "GET"), 0.15e-3, "added p50"), Spread(0.1e-3, 0.05e-3, 0.2e-3), "not separated")
    assert report.promise(found) == "GET, route: added to the median of direct"
    assert (report.limit(found), report.measured(found)) == ("<= 0.15 ms", "0.1 (0.05 to 0.2) ms")


def test_a_verdict_needs_the_whole_range_on_one_side() -> None:
    assert verdict(Spread(0.5, 0.4, 0.6), 0.6) == "pass"
    assert verdict(Spread(0.5, 0.4, 0.7), 0.6) == "not separated"
    assert verdict(Spread(0.7, 0.65, 0.8), 0.6) == "misses"
    assert verdict(Spread(0.95, 0.9, 1.0), 0.9, at_least=True) == "pass"


def test_every_rung_is_measured_once_a_round_and_the_warm_up_is_not_counted() -> None:
    fake = Fake()
    with ExitStack() as stack:
        results = climb(fake, fake.start(stack, 1), 3, 1, lambda line: None)
    assert {name: len(samples) for name, samples in results.samples.items()} == {("GET", "direct"): 3, ("GET", "route"): 3, ("GET", "envoy"): 3}


def test_markdown_shows_figures_with_their_range_and_each_target() -> None:
    text = report.markdown([measured(5.0, 4.0, 7.0)], 3)
    assert "| fake | GET | route | 5 (4 to 7) us | 0.5 (0.4 to 0.7) |" in text
    assert "| fake: GET, route: CPU to envoy | <= 0.6 | 0.5 (0.4 to 0.7) | not separated |" in text
    assert "| fake: GET, route: throughput to direct | >= 0.9 | 0.96 (0.96 to 0.96) | pass |" in text
