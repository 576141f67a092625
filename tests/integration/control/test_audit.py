"""The audit log: who changed what, who was refused, and that nobody alters it unseen."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh_core.control.access import new_token
from tests.integration.control.objects import SET, relay
from tests.integration.control.stores import Open, entry, put
from xds.store import audit
from xds.store.base import COMPACT_EVERY, Head, RefusedChange, Store
from xds.store.sqlite import SqliteStore
from xds.store.verify import verify


async def filled(store: Store) -> None:
    """Five records: three revisions, two refusals."""
    await put(store, entry("a"), entry("b"), expected=0)
    await store.refuse(RefusedChange(1.5, "eve", "apply", "eve may not apply Listener a", 1))
    await put(store, entry("b", "2"), expected=1, deletes=[("Listener", "a")])
    await store.refuse(RefusedChange(2.5, "eve", "delete", "no", 2))
    await put(store, entry("c", "3"), expected=2)


async def test_changes_and_refusals_are_one_chain_in_every_store(opened: Open):
    store = opened()
    assert (await verify(store)).broken == ""
    await filled(store)
    log = await opened().audit()
    assert [record.number for record in log.records] == [1, 2, 3, 4, 5]
    assert [(told["author"], told["outcome"], told["revision"]) for told in (record.told for record in log.records)] == [
        ("ada", "done", 1), ("eve", "refused", 1), ("ada", "done", 2), ("eve", "refused", 2), ("ada", "done", 3),
    ]  # fmt: skip
    found = await verify(store, log.records[1].head)
    assert (found.broken, found.head, found.anchor) == ("", log.records[-1].head, Head())
    assert "record 2 is not the one that was noted" in (await verify(store, Head(2, "0" * 64))).broken


async def test_what_is_forgotten_leaves_its_seal(opened: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "KEPT_RECORDS", 250)
    store = opened()
    await put(store, entry("a"), expected=0)
    early = (await store.audit()).head
    for number in range(COMPACT_EVERY - 1):
        await store.refuse(RefusedChange(1.5, "eve", "apply", f"no {number}", 1))
    log = await store.audit()
    assert (log.anchor.number, log.records[0].number, log.head.number) == (6, 7, COMPACT_EVERY)
    assert (await verify(store)).broken.startswith("there is no record of 1 revisions"), "its only one was forgotten"
    await put(store, entry("b"), expected=1)
    assert (await verify(store, early)).broken == ""
    assert (await verify(store, log.records[9].head)).broken == ""


async def test_refusals_do_not_disturb_those_who_write(opened: Open):
    store, other = opened(), opened()

    async def refuse() -> None:
        for _ in range(10):
            await other.refuse(RefusedChange(1.5, "eve", "apply", "no", 0))

    async def write() -> None:
        for revision in range(10):
            await put(store, entry("a", str(revision)), expected=revision)

    await asyncio.gather(refuse(), write())
    found = await verify(store)
    assert (found.broken, found.head.number) == ("", 20)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = SqliteStore(tmp_path / "control.db")
    await filled(found)
    yield found
    await found.close()


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("UPDATE audit SET body = replace(body, 'eve', 'ada') WHERE number = 2", "record 2 is not what was sealed"),
        ("UPDATE audit SET body = 'nonsense', seal = 'nonsense' WHERE number = 2", "record 2 is not what was sealed"),
        ("DELETE FROM audit WHERE number = 2", "record 2 is missing: 3 follows 1"),
        ("DELETE FROM audit WHERE number = 1", "record 1 is missing: 2 follows 0"),
        ("DELETE FROM audit WHERE number = 5", "the newest revision is 3, that of the newest record is 2"),
        ("DELETE FROM audit", "there is no record of 3 revisions"),
        ("UPDATE audit SET number = number + 10 WHERE number IN (2, 3); UPDATE audit SET number = 25 - number - 10 WHERE number > 10", "record 2 is"),
        ("INSERT INTO anchor SELECT number, seal FROM audit WHERE number = 5; DELETE FROM audit", "there is no record of 3 revisions"),
        ("UPDATE changes SET author = 'bob' WHERE revision = 2", "who made revision 2, when or why was altered (record 3)"),
        ("UPDATE history SET value = '{}' WHERE revision = 2 AND name = 'b'", "what revision 2 wrote was altered (record 3)"),
        ("DELETE FROM history WHERE revision = 2 AND name = 'a'", "what revision 2 wrote was altered (record 3)"),
        ("DELETE FROM changes WHERE revision = 2", "revision 2 is missing (record 3)"),
        ("UPDATE objects SET value = '{}' WHERE name = 'b'", "the objects in force are not those of the newest revision"),
        ("INSERT INTO changes VALUES (4, 0, 'bob', '')", "the newest revision is 4, that of the newest record is 3"),
    ],
)
async def test_what_is_altered_by_hand_is_found(store: SqliteStore, tmp_path: Path, by_hand: str, said: str):
    assert (await verify(store)).broken == ""
    with sqlite3.connect(tmp_path / "control.db") as database:
        database.executescript(by_hand)
    assert said in (await verify(store)).broken


async def test_a_chain_that_was_written_anew_is_found_by_what_was_noted(store: SqliteStore, tmp_path: Path):
    noted = (await store.audit()).head
    with sqlite3.connect(tmp_path / "control.db") as database:
        database.execute("DELETE FROM audit")
        database.execute("UPDATE changes SET author = 'bob'")
    await put(store, entry("d"), expected=3)
    assert (await verify(store)).broken == "", "it begins anew, at revision 3"
    assert (await store.audit()).records[0].told["outcome"] == "begun"
    assert "record 5 is not the one that was noted: the log was written anew, or cut" in (await verify(store, noted)).broken


def test_the_command_tells_who_was_refused_and_whether_all_is_there(control, tmp_path: Path):
    ada, eve = new_token(), new_token()
    people = "".join(
        f"  - {{name: {name}, tokenSha256: {token[1]}, roles: [{role}]}}\n" for name, token, role in (("ada", ada, "editor"), ("eve", eve, "viewer"))
    )
    (access := tmp_path / "access.yaml").write_text(f"people:\n{people}")
    plane = control("--store", str(tmp_path / "control.db"), "--access", str(access))
    as_ada, as_eve = {"MIDSTREAM_TOKEN": ada[0]}, {"MIDSTREAM_TOKEN": eve[0]}
    (objects := tmp_path / "shop.yaml").write_text(SET)
    assert plane.run("apply", "-f", str(objects), environment=as_eve).returncode == 1
    assert plane.run("apply", "-f", str(objects), environment=as_ada).returncode == 0
    assert plane.run("apply", "-f", "-", stdin=relay("broken", "nowhere"), environment=as_ada).returncode == 2
    shown = plane.run("audit", "-o", "json", environment=as_eve).stdout
    assert [word in shown for word in ("eve may not apply", "nowhere", '"outcome": "done"')] == [True] * 3, shown
    whole = plane.run("audit", "--verify", environment=as_eve)
    assert (whole.returncode, "whole: records 1 to 3" in whole.stdout) == (0, True), whole.stdout + whole.stderr
    with sqlite3.connect(tmp_path / "control.db") as database:
        database.execute("UPDATE audit SET body = replace(body, 'eve', 'bob')")
    broken = plane.run("audit", "--verify", environment=as_eve)
    assert (broken.returncode, broken.stdout) == (1, "broken: record 1 is not what was sealed, or not in its place\n")
