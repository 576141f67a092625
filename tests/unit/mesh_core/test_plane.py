"""Admission: what may replace what, and what happens to everything else."""

import asyncio
from dataclasses import dataclass

import pytest

from mesh_core.control.plane import Applied, ControlPlane, Source
from mesh_core.model.problem import Invalid
from tests.unit.mesh_core.shop import SHOP, all_kinds
from xds.protocol.types import LISTENER
from xds.server.hub import Hub
from xds.store.base import Conflict, Entry
from xds.store.sqlite import SqliteStore

OBJECTS = SHOP.count("kind:")


@dataclass
class Refusal:
    type_url: str
    name: str
    field: str
    reason: str


class Plane(ControlPlane):
    """Over a store of its own; `refusals` is what the data plane's validator says."""

    def __init__(self, path):
        self.refusals: list[Refusal] = []
        super().__init__(SqliteStore(path), all_kinds(), Hub(), lambda resources: self.refusals)

    async def put(self, text: str, **more) -> Applied:
        return await self.apply([Source("shop.yaml", text)], **more)


@pytest.fixture
async def plane(tmp_path):
    found = Plane(tmp_path / "control.db")
    await found.start()
    yield found
    await found.store.close()


async def test_what_is_admitted_is_published(plane):
    before = plane.hub.snapshot.version
    applied = await plane.put(SHOP)
    assert (applied.revision, len(applied.created)) == (1, OBJECTS)
    assert plane.hub.snapshot.version != before
    assert set(plane.hub.snapshot.types[LISTENER].resources) == {"shop", "cache", "events"}


async def test_a_refusal_of_the_data_plane_is_blamed_and_nothing_is_stored(plane):
    plane.refusals = [Refusal(LISTENER, "cache", "address", "no such address here")]
    with pytest.raises(Invalid, match=r"shop\.yaml:36: Listener cache: spec\.address: no such address here"):
        await plane.put(SHOP)
    assert (await plane.store.read()).entries == {}
    assert plane.hub.snapshot.types == {}


async def test_the_same_again_is_no_change(plane):
    await plane.put(SHOP)
    snapshot = plane.hub.snapshot
    applied = await plane.put(SHOP)
    assert (applied.revision, len(applied.unchanged)) == (1, OBJECTS)
    assert plane.hub.snapshot is snapshot


async def test_an_object_that_moved_in_its_file_is_blamed_where_it_is_now(plane):
    await plane.put(SHOP)
    applied = await plane.put("# a comment\n" + SHOP)
    assert (len(applied.unchanged), applied.changed) == (OBJECTS, ())
    plane.refusals = [Refusal(LISTENER, "cache", "address", "no")]
    with pytest.raises(Invalid, match=r"shop\.yaml:37"):
        await plane.delete([("Fault", "slow-writes")])


async def test_a_change_touches_only_its_own_resources(plane):
    await plane.put(SHOP)
    before = plane.hub.snapshot
    await plane.put(SHOP.replace("percent: 5", "percent: 6"))
    changed = {url for url, found in plane.hub.snapshot.types.items() if found is not before.types[url]}
    assert changed == {"type.googleapis.com/midstream.policy.v1.Fault"}


async def test_what_another_process_stores_is_published_and_what_is_invalid_is_not(plane, tmp_path):
    await plane.put(SHOP)
    follow = asyncio.create_task(plane.run())
    other = Plane(tmp_path / "control.db")
    await other.start()
    await other.delete([("Fault", "slow-writes")])
    while ("Fault", "slow-writes") in plane.objects:
        await asyncio.wait_for(plane.store.wait(1), 5)
        await asyncio.sleep(0)
    good = plane.hub.snapshot
    bad = Entry("Listener", "x", {"apiVersion": "midstream/v1", "kind": "Listener", "metadata": {"name": "x"}, "spec": {}})
    revision = await other.store.write([bad], [], expected=2, author="", reason="")
    with pytest.raises(Invalid):
        await plane.put(SHOP)
    assert plane.hub.snapshot is good
    await other.store.write([], [bad.key], expected=revision, author="", reason="")
    await plane.put(SHOP)
    assert ("Fault", "slow-writes") in plane.objects
    follow.cancel()
    await other.store.close()


async def test_who_decided_on_an_old_state_must_decide_again(plane, tmp_path):
    await plane.put(SHOP)
    with pytest.raises(Conflict):
        await plane.store.write([], [("Fault", "slow-writes")], expected=0, author="", reason="")


async def test_deleting_what_does_not_exist_is_said(plane):
    with pytest.raises(KeyError, match="there is no Fault nothing"):
        await plane.delete([("Fault", "nothing")])


async def test_a_rollback_is_admitted_like_any_change(plane):
    await plane.put(SHOP)
    await plane.put(SHOP.replace("127.0.0.1:5432", "127.0.0.1:5433"))
    plane.refusals = [Refusal(LISTENER, "shop", "address", "is in use by now")]
    with pytest.raises(Invalid, match=r"spec\.address: is in use by now"):
        await plane.rollback(1)
    assert plane.contents.revision == 2
    plane.refusals = []
    applied = await plane.rollback(1)
    assert (applied.revision, applied.changed) == (3, (("Listener", "shop"),))
    assert plane.contents.entries["Listener", "shop"].value["spec"]["address"] == "127.0.0.1:5432"


async def test_a_plan_names_the_fields_that_sidecars_would_see_change(plane):
    await plane.put(SHOP)
    plan = await plane.plan([Source("shop.yaml", SHOP.replace("127.0.0.1:5432", "127.0.0.1:5433"))])
    assert [(change.kind, change.name) for change in plan.objects] == [("Listener", "shop")]
    assert [(change.type, change.name, change.what) for change in plan.resources] == [("Listener", "shop", "changed")]
    assert plan.resources[0].fields == ("address.socketAddress.portValue",)
    assert plan.clients == ("Listener shop takes new clients at 127.0.0.1:5433; those of 127.0.0.1:5432 stay connected",)
    assert plane.contents.revision == 1
