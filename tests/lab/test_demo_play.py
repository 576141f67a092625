"""The demo's own parts: its objects are valid in the order of the play, and a scene's promise about bystanders bites."""

from __future__ import annotations

import asyncio

import pytest

from mesh_core.cli import families
from mesh_core.demo import objects, scenes
from mesh_core.demo.ledger import Ledger
from mesh_core.demo.scene import Play, Promise, Scene
from mesh_core.demo.shop import classify
from mesh_core.model.check import world_of
from mesh_core.model.source import read

PORTS = {"shop": "20001", "cache": "20002", "events": "20003", "brokers": "20010-20019"}
BASE = objects.base(["127.0.0.1:1001", "127.0.0.1:1002"], ["127.0.0.1:1003"], ["127.0.0.1:1004"], PORTS)


@pytest.mark.parametrize("rule", [objects.SHARDING, objects.TOPIC_DENIED, objects.PREFIX_LIMITED, objects.AFTER_RETURN], ids=lambda rule: rule.file)
def test_every_rule_of_the_play_is_valid_beside_the_base(rule: objects.Rule) -> None:
    documents = [document for part in (BASE, rule) for document in read(part.text, part.file)[0]]
    world = world_of(documents, families().kinds)
    assert world.get(rule.kind, rule.name) is not None


def test_scenes_have_names_of_their_own() -> None:
    play = scenes.in_order()
    assert len({scene.name for scene in play}) == len(play) and all(scene.title for scene in play)


class OnlyTheCache(Scene):
    name, title, tolerated = "drill", "A drill", ("cache",)

    async def act(self, play: Play) -> None: ...

    async def promises(self, play: Play) -> list[Promise]:
        return []


@pytest.mark.parametrize(("operation", "kept"), [("cache cart", True), ("sql turnover", False)])
def test_trouble_is_tolerated_only_where_the_scene_says(operation: str, kept: bool) -> None:
    ledger = Ledger(classify)
    ledger.begin("drill")

    async def fails() -> None:
        raise ConnectionResetError("by the drill")

    async def some_work() -> None:
        await ledger.record("sql customer", asyncio.sleep(0))
        await ledger.record(operation, fails())

    asyncio.run(some_work())
    [promise] = OnlyTheCache().unharmed(ledger)
    assert promise.kept is kept
    assert ("by the drill" in promise.figure) is not kept
