"""Kubernetes objects as a store: the official client against a small server of ours that speaks as the API does (kubernetes_api.py)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from mesh_core.control.crds import manifests
from mesh_core.control.directory import DirectoryStore
from mesh_core.control.kubernetes_objects import KubernetesStore
from mesh_core.control.plane import ControlPlane, Source
from tests.integration.control.kubernetes_api import KubernetesApi
from tests.unit.mesh_core.shop import SHOP, all_kinds
from xds.server.hub import Hub
from xds.store.base import Conflict, Contents, Gone, StoreFailed

WITHIN_S = 20
KINDS = all_kinds()


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    found = KubernetesApi(KINDS)
    yield found
    found.stop()


def opened(api: KubernetesApi, namespace: str = "mesh") -> KubernetesStore:
    return KubernetesStore(client.Configuration(host=api.url), namespace, KINDS.kinds)


@pytest.fixture
async def store(api: KubernetesApi) -> AsyncIterator[KubernetesStore]:
    found = opened(api)
    yield found
    await found.close()


def spec(address: str) -> dict:
    return {"address": address, "protocol": "tcp", "backend": "one"}


async def until(store: KubernetesStore, names: set[str]) -> Contents:
    async with asyncio.timeout(WITHIN_S):
        while True:
            contents = await store.read()
            if {name for _, name in contents.entries} == names:
                return contents
            await store.wait(contents.revision)


async def test_the_same_objects_give_the_same_bytes(api: KubernetesApi, store: KubernetesStore, tmp_path: Path):
    for document in yaml.safe_load_all(SHOP):
        labels = document["metadata"].get("labels")
        api.put(document["kind"], document["metadata"]["name"], document["spec"], **({"labels": labels} if labels else {}))
    (tmp_path / "shop.yaml").write_text(SHOP)
    published = []
    for one in (store, DirectoryStore(tmp_path)):
        plane = ControlPlane(one, KINDS, Hub())
        await plane.start()
        published.append({(found.type_url, found.name, found.value) for found in plane.configuration.resources})
    assert published[0]
    assert published[0] == published[1]


async def test_changes_are_seen_and_what_the_cluster_writes_is_not_one(api: KubernetesApi, store: KubernetesStore):
    api.put("Listener", "one", spec("127.0.0.1:1"))
    first = await until(store, {"one"})
    api.put("Listener", "two", spec("127.0.0.1:2"))
    second = await until(store, {"one", "two"})
    assert second.revision > first.revision
    api.touch("Listener", "one")
    api.put("Listener", "one", spec("127.0.0.1:3"))
    api.delete("Listener", "two")
    third = await until(store, {"one"})
    assert third.entries["Listener", "one"].value == {
        "apiVersion": "midstream/v1", "kind": "Listener", "metadata": {"name": "one"}, "spec": spec("127.0.0.1:3"),
    }  # fmt: skip
    assert third.revision == second.revision + 2, "the status is no change"
    assert third.entries["Listener", "one"].file == "kubernetes:mesh/listeners/one"


async def test_what_was_missed_is_fetched_where_the_cluster_has_forgotten_it(api: KubernetesApi, store: KubernetesStore):
    for name in ("one", "two"):
        api.put("Listener", name, spec("127.0.0.1:1"))
    await until(store, {"one", "two"})
    lists = api.lists.count("Listener")
    with api._changed:  # nobody watches while this happens
        api._epoch += 1
        api._objects.pop(("listeners", "two"))
        api._version += 1
        api.forget()
        api._changed.notify_all()
    await until(store, {"one"})
    assert api.lists.count("Listener") == lists + 1
    api.put("Listener", "three", spec("127.0.0.1:1"))
    await until(store, {"one", "three"})


async def test_a_watch_that_breaks_goes_on_from_where_it_was(api: KubernetesApi, store: KubernetesStore):
    api.put("Listener", "one", spec("127.0.0.1:1"))
    await until(store, {"one"})
    lists = len(api.lists)
    api.end_watches()
    api.put("Listener", "two", spec("127.0.0.1:1"))
    await until(store, {"one", "two"})
    assert len(api.lists) == lists, "nothing is listed again"


async def test_it_is_read_only_and_says_where_to_change_it(api: KubernetesApi, store: KubernetesStore):
    plane = ControlPlane(store, KINDS, Hub())
    await plane.start()
    with pytest.raises((StoreFailed, Conflict), match="takes its objects from the namespace mesh of Kubernetes; change them there, with kubectl"):
        await plane.apply([Source("shop.yaml", SHOP)])
    with pytest.raises(Gone, match="remembers no revisions"):
        await store.at(1)
    assert await store.history(10) == []


async def test_kinds_that_are_not_installed_and_a_cluster_that_is_not_there_are_named(api: KubernetesApi):
    with pytest.raises(StoreFailed, match=re.escape("404 Not Found; install the kinds with `midstream crds | kubectl apply -f -`")):
        await opened(api, "elsewhere").read()
    nowhere = KubernetesStore(client.Configuration(host="http://127.0.0.1:1"), "mesh", ["Listener"])
    nowhere._api.api_client.rest_client.pool_manager.connection_pool_kw["retries"] = False
    with pytest.raises(StoreFailed, match="the Kubernetes API failed: "):
        await nowhere.read()


def test_every_kind_has_its_resource():
    found = {manifest["spec"]["names"]["kind"]: manifest for manifest in manifests(KINDS)}
    assert set(found) == set(KINDS.kinds)
    assert found["AccessPolicy"]["metadata"]["name"] == "accesspolicies.mesh.midstream"
    assert len({manifest["metadata"]["name"] for manifest in found.values()}) == len(found)
    specs = {kind: manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] for kind, manifest in found.items()}
    assert set(specs["Listener"]["required"]) == {"address", "protocol", "backend"}
    assert all(schema["x-kubernetes-preserve-unknown-fields"] for schema in specs.values()), "what is unknown is refused, not dropped"
