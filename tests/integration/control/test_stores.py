"""What every store promises: atomic, conditional, durable, seen by others, with a memory of bounded length."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from mesh_core.control.directory import DirectoryStore
from mesh_core.control.plane import ControlPlane, Source
from mesh_core.lab import Etcd, Postgres
from tests.integration.control.stores import Open, empty, entry, prefixed, put
from tests.unit.mesh_core.shop import SHOP, all_kinds
from xds.server.hub import Hub
from xds.store.base import Conflict, Entry, Gone, Store, StoreFailed
from xds.store.etcd import INLINE_BYTES, PIECE_BYTES, EtcdStore
from xds.store.postgres import PostgresStore
from xds.store.sqlite import SqliteStore


@pytest.fixture
def store(opened: Open) -> Store:
    return opened()


async def test_what_is_written_is_read_with_its_lines(store: Store):
    revision = await put(store, entry("a"), entry("b"), expected=0)
    contents = await store.read()
    assert (revision, contents.revision) == (1, 1)
    found = contents.entries["Listener", "a"]
    assert (found.value, found.file, found.lines, found.revision) == ({"spec": "1"}, "shop.yaml", {"spec": 3}, 1)


async def test_a_write_on_an_old_revision_changes_nothing(store: Store):
    await put(store, entry("a"), expected=0)
    with pytest.raises(Conflict):
        await put(store, entry("a", "2"), entry("b"), expected=0)
    contents = await store.read()
    assert list(contents.entries) == [("Listener", "a")]
    assert contents.entries["Listener", "a"].value == {"spec": "1"}


async def test_of_many_concurrent_writers_each_change_is_kept(opened: Open):
    """Each writes what it saw plus one, as often as it takes: no update is lost."""
    writers = [opened() for _ in range(4)]

    async def increment(store: Store) -> None:
        while True:
            contents = await store.read()
            count = contents.entries[key].value["spec"] if (key := ("Listener", "count")) in contents.entries else 0
            try:
                await put(store, entry("count", count + 1), expected=contents.revision)
            except Conflict:
                continue
            return

    await asyncio.gather(*(increment(writer) for writer in writers for _ in range(5)))
    contents = await writers[0].read()
    assert (contents.revision, contents.entries["Listener", "count"].value) == (20, {"spec": 20})


async def test_a_restart_finds_everything(opened: Open):
    first = opened()
    await put(first, entry("a"), expected=0)
    await first.close()
    assert list((await opened().read()).entries) == [("Listener", "a")]


async def test_waiting_ends_with_the_next_write_whosever_it_is(opened: Open):
    store, other = opened(), opened()
    for revision, writer in enumerate((store, other)):
        waiting = asyncio.create_task(store.wait(revision))
        await put(writer, entry("a", str(revision)), expected=revision)
        assert await asyncio.wait_for(waiting, 10) == revision + 1


async def test_history_tells_who_why_and_what(store: Store):
    await put(store, entry("a"), entry("b"), expected=0)
    await put(store, entry("b", "2"), expected=1, deletes=[("Listener", "a")])
    latest, first = await store.history(10)
    assert (latest.revision, latest.author, latest.reason) == (2, "ada", "because")
    assert (latest.put, latest.removed) == ((("Listener", "b"),), (("Listener", "a"),))
    assert first.put == (("Listener", "a"), ("Listener", "b"))


async def test_every_revision_can_be_read_again(store: Store):
    await put(store, entry("a"), entry("b"), expected=0)
    await put(store, entry("b", "2"), expected=1, deletes=[("Listener", "a")])
    await put(store, entry("a", "3"), expected=2)
    seen = [{name: found.value["spec"] for (_, name), found in (await store.at(revision)).entries.items()} for revision in range(4)]
    assert seen == [{}, {"a": "1", "b": "1"}, {"b": "2"}, {"a": "3", "b": "2"}]
    assert (await store.at(1)).entries["Listener", "a"] == Entry("Listener", "a", {"spec": "1"}, "shop.yaml", {"spec": 3}, 1)
    assert (await store.at(3)).entries == (await store.read()).entries
    with pytest.raises(Gone, match="there is no revision 4; revisions 1 to 3 are kept"):
        await store.at(4)


async def test_old_revisions_are_forgotten_and_nothing_else(opened: Open):
    store = opened(kept=8)
    await put(store, entry("old"), entry("gone"), expected=0)
    await put(store, expected=1, deletes=[("Listener", "gone")])
    for revision in range(2, 24):
        await put(store, entry("new", str(revision)), expected=revision)
    assert [change.revision for change in await store.history(100)] == list(range(24, 15, -1))
    with pytest.raises(Gone, match="revisions 16 to 24 are kept"):
        await store.at(15)
    assert {name: found.value["spec"] for (_, name), found in (await store.at(16)).entries.items()} == {"old": "1", "new": "15"}
    assert (await store.at(24)).entries == (await store.read()).entries


async def test_the_same_objects_give_the_same_bytes_through_every_store(tmp_path: Path, postgres_shards: list[Postgres], etcd: Etcd):
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "shop.yaml").write_text(SHOP)
    stores = [
        SqliteStore(tmp_path / "control.db"),
        PostgresStore(await empty(postgres_shards[0])),
        EtcdStore(prefixed(etcd)),
        DirectoryStore(tmp_path / "objects"),
    ]
    published = []
    for store in stores:
        plane = ControlPlane(store, all_kinds(), Hub())
        await plane.start()
        if not isinstance(store, DirectoryStore):
            await plane.apply([Source("shop.yaml", SHOP)])
        published.append({(found.type_url, found.name, found.value) for found in plane.configuration.resources})
        await store.close()
    assert published[0]
    assert all(found == published[0] for found in published)


async def test_a_lost_database_connection_is_made_again(postgres_shards: list[Postgres]):
    url = await empty(postgres_shards[0])
    store = PostgresStore(url)
    await put(store, entry("a"), expected=0)
    waiting = asyncio.create_task(store.wait(1))
    admin = await asyncpg.connect(url)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%midstream%'")
    await put(other := PostgresStore(url), entry("b"), expected=1)
    try:
        assert await asyncio.wait_for(waiting, 10) == 2
    except StoreFailed:  # it was looking at that moment
        assert await asyncio.wait_for(store.wait(1), 10) == 2
    for one in (store, other, admin):
        await one.close()


async def test_a_database_that_cannot_write_says_so_and_loses_nothing(postgres_shards: list[Postgres]):
    url = await empty(postgres_shards[0])
    store = PostgresStore(url)
    await put(store, entry("a"), expected=0)
    assert store._connection is not None
    await store._connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreFailed, match=r"read-only transaction; nothing was changed"):
        await put(store, entry("b"), expected=1)
    assert (await store.read()).revision == 1
    await store.close()


async def test_a_database_that_is_not_there_is_named_without_its_password():
    with pytest.raises(StoreFailed) as failed:
        await PostgresStore("postgresql://ada:hunter2@127.0.0.1:1/control").read()
    assert "127.0.0.1:1/control" in str(failed.value)
    assert "hunter2" not in str(failed.value)


async def test_a_change_that_is_long_is_one_change_all_the_same(opened: Open):
    """etcd takes it in pieces."""
    store, other = opened(), opened()
    sizes = {"a": 10, "b": INLINE_BYTES, "c": 3 * PIECE_BYTES}
    await put(store, *(entry(name, "x" * size) for name, size in sizes.items()), *(entry(f"n{number}") for number in range(500)), expected=0)
    contents = await other.read()
    assert {name: len(contents.entries["Listener", name].value["spec"]) for name in sizes} == sizes
    assert len(contents.entries) == len(sizes) + 500


async def test_an_etcd_that_is_not_there_is_named_without_its_password():
    with pytest.raises(StoreFailed) as failed:
        await EtcdStore("etcd://ada:hunter2@127.0.0.1:1,127.0.0.1:2/control").read()
    assert "etcd 127.0.0.1:1,127.0.0.1:2/control" in str(failed.value)
    assert "hunter2" not in str(failed.value)


async def test_what_a_writer_that_lost_left_behind_is_taken_away(etcd: Etcd):
    url = prefixed(etcd)
    store, other = EtcdStore(url), EtcdStore(url)
    await put(store, entry("a"), expected=0)
    with pytest.raises(Conflict):
        await put(other, entry("b", "x" * PIECE_BYTES), expected=0)
    assert await store._range("pieces/", "pieces0", limit=10) == {}
    for one in (store, other):
        await one.close()
