"""What is particular to SQLite; what every store promises is in tests/integration/control/test_stores.py."""

import sqlite3

import pytest

from xds.store.base import Entry, StoreFailed
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


async def test_a_store_of_the_first_version_gets_its_history(tmp_path):
    path = tmp_path / "control.db"
    database = sqlite3.connect(path)
    database.executescript("""
        CREATE TABLE objects (
            kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, file TEXT NOT NULL, lines TEXT NOT NULL, revision INTEGER NOT NULL,
            PRIMARY KEY (kind, name)
        ) WITHOUT ROWID;
        CREATE TABLE changes (revision INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL, reason TEXT NOT NULL);
        CREATE TABLE history (
            revision INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT, PRIMARY KEY (revision, kind, name)
        ) WITHOUT ROWID;
        INSERT INTO objects VALUES ('Listener', 'a', '{}', 'shop.yaml', '{}', 1);
        INSERT INTO changes VALUES (1, 0, 'ada', 'because');
        INSERT INTO history VALUES (1, 'Listener', 'a', '{}');
        PRAGMA user_version = 1;
    """)
    database.close()
    found = SqliteStore(path)
    await put(found, entry("b"), expected=1)
    assert list((await found.at(1)).entries) == [("Listener", "a")]
    assert len((await found.at(2)).entries) == 2
    await found.close()


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
