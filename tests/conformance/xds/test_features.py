"""Every scenario, in each variant it holds for; and that no rule is without one."""

from pathlib import Path

import pytest

from tests.conformance.xds import client_steps, server_steps
from tests.conformance.xds.gherkin import Scenario, read

FEATURES = Path(__file__).parent / "features"
VARIANTS = ("sotw", "delta")
RULES = {"S": 11, "W": 4, "D": 10, "C": 12}


def scenarios(*files: str) -> list:
    return [
        pytest.param(scenario, variant, id=f"{'-'.join(sorted(scenario.tags - set(VARIANTS)))} {variant}: {scenario.name}")
        for file in files
        for written in read(FEATURES / f"{file}.feature")
        for scenario in written.played()
        for variant in VARIANTS
        if variant in scenario.tags or scenario.tags.isdisjoint(VARIANTS)
    ]


@pytest.mark.parametrize(("scenario", "variant"), scenarios("server-common", "server-sotw", "server-delta"))
async def test_server(scenario: Scenario, variant: str) -> None:
    async with server_steps.Stage(variant) as stage:
        await server_steps.step.play(scenario, stage)


@pytest.mark.parametrize(("scenario", "variant"), scenarios("client"))
async def test_client(scenario: Scenario, variant: str) -> None:
    async with client_steps.ClientStage(variant) as stage:
        await client_steps.step.play(scenario, stage)


def test_every_rule_has_a_scenario() -> None:
    tags = {tag for file in FEATURES.glob("*.feature") for scenario in read(file) for tag in scenario.tags}
    wanted = {f"{letter}{number}" for letter, last in RULES.items() for number in range(1, last + 1)}
    assert wanted <= tags, f"without a scenario: {sorted(wanted - tags)}"
