"""The SQLite store: atomic, conditional, durable, and seen by others."""

import asyncio
import sqlite3

import pytest

from xds.store.base import Conflict, Entry, StoreFailed
from xds.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path):
    found = SqliteStore(tmp_path / "folder" / "control.db")
    yield found
    await found.close()


def entry(name: str, value: str = "1") -> Entry:
    return Entry("Listener", name, {"spec": value}, "shop.yaml", {"spec": 3})


async def put(store, *entries: Entry, expected: int, deletes=()) -> int:
    return await store.write(entries, deletes, expected=expected, author="ada", reason="because")


async def test_what_is_written_is_read_with_its_lines(store):
    revision = await put(store, entry("a"), entry("b"), expected=0)
    contents = await store.read()
    assert (revision, contents.revision) == (1, 1)
    found = contents.entries["Listener", "a"]
    assert (found.value, found.file, found.lines, found.revision) == ({"spec": "1"}, "shop.yaml", {"spec": 3}, 1)


async def test_a_write_on_an_old_revision_changes_nothing(store):
    await put(store, entry("a"), expected=0)
    with pytest.raises(Conflict):
        await put(store, entry("a", "2"), entry("b"), expected=0)
    contents = await store.read()
    assert list(contents.entries) == [("Listener", "a")]
    assert contents.entries["Listener", "a"].value == {"spec": "1"}


async def test_of_two_concurrent_writers_one_wins(store, tmp_path):
    other = SqliteStore(tmp_path / "folder" / "control.db")
    outcomes = await asyncio.gather(put(store, entry("a"), expected=0), put(other, entry("b"), expected=0), return_exceptions=True)
    await other.close()
    assert sorted(type(outcome) for outcome in outcomes if not isinstance(outcome, int)) == [Conflict]
    assert len((await store.read()).entries) == 1


async def test_a_restart_finds_everything(tmp_path):
    path = tmp_path / "control.db"
    first = SqliteStore(path)
    await put(first, entry("a"), expected=0)
    await first.close()
    second = SqliteStore(path)
    assert list((await second.read()).entries) == [("Listener", "a")]
    await second.close()


async def test_waiting_ends_with_the_next_write(store):
    waiting = asyncio.create_task(store.wait(0))
    await put(store, entry("a"), expected=0)
    assert await asyncio.wait_for(waiting, 5) == 1


async def test_waiting_ends_with_another_process_s_write(store, tmp_path):
    other = SqliteStore(tmp_path / "folder" / "control.db")
    waiting = asyncio.create_task(store.wait(0))
    await put(other, entry("a"), expected=0)
    await other.close()
    assert await asyncio.wait_for(waiting, 5) == 1


async def test_history_tells_who_why_and_what(store):
    await put(store, entry("a"), entry("b"), expected=0)
    await put(store, entry("b", "2"), expected=1, deletes=[("Listener", "a")])
    latest, first = await store.history(10)
    assert (latest.revision, latest.author, latest.reason) == (2, "ada", "because")
    assert (latest.put, latest.removed) == ((("Listener", "b"),), (("Listener", "a"),))
    assert first.put == (("Listener", "a"), ("Listener", "b"))


async def test_a_full_disk_is_a_clear_error_and_loses_nothing(store):
    await put(store, entry("a"), expected=0)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFailed, match="nothing was changed"):
        await put(store, entry("b", "x" * 1_000_000), expected=1)
    contents = await store.read()
    assert (contents.revision, list(contents.entries)) == (1, [("Listener", "a")])


def test_a_store_of_a_newer_version_is_not_touched(tmp_path):
    path = tmp_path / "control.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreFailed, match="newer Midstream"):
        SqliteStore(path)


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match=r"file/control\.db"):
        SqliteStore(tmp_path / "file" / "control.db")
