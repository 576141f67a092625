"""What stores do when what they stand on fails: no space, a server that dies, a memory that is compacted."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import httpx
import pytest

from mesh_core.lab import Etcd, Postgres, account
from tests.conftest import start
from tests.integration.control.stores import empty, entry, prefixed, put
from xds.store.base import StoreFailed
from xds.store.etcd import EtcdStore
from xds.store.postgres import PostgresStore
from xds.store.sqlite import SqliteStore
from xds.store.verify import verify

MIB = 1024 * 1024
QUOTA = 8 * MIB  # of an etcd
# A segment of the write-ahead log is as large: a server that cannot write that stops, one that cannot write more refuses the statement.
LARGEST_FILE = 16 * MIB
# What is undone leaves its room in the file, and none that is known to be free.
GROW = """
BEGIN;
INSERT INTO midstream.objects
SELECT 'Filler', number::text, (SELECT string_agg(md5(number::text || part::text), '') FROM generate_series(1, 32768) part), '', '{}', 0
FROM generate_series(1, 18) number;
ROLLBACK;
"""


@pytest.fixture(scope="module")
def small_etcd() -> Iterator[Etcd]:
    """One that takes few megabytes."""
    server = start(lambda: Etcd("small", options=("--quota-backend-bytes", str(QUOTA))).start())
    yield server
    server.kill()


def large(size: int) -> str:
    """A text that cannot be compressed away."""
    return Random(7).randbytes(size // 2).hex()


async def loses_nothing(store, too_much: str, said: str, make_room: Callable[[], Awaitable[None]]) -> None:
    """A change that has no room is refused as a whole; what was there stays, and the next one is made when there is room."""
    await put(store, entry("a"), expected=0)
    with pytest.raises(StoreFailed, match=rf"(?s){said}.*; nothing was changed"):
        await put(store, entry("a", "2"), entry("b", too_much), expected=1)
    contents = await store.read()
    assert (contents.revision, [found.value for found in contents.entries.values()]) == (1, [{"spec": "1"}])
    assert (await store.at(1)).entries == contents.entries
    await make_room()
    assert await put(store, entry("a", "3"), expected=1) == 2
    assert (await verify(store)).broken == ""
    await store.close()


async def test_a_full_disk_under_sqlite(tmp_path: Path):
    store = SqliteStore(tmp_path / "control.db")

    def limit(pages: int) -> None:
        store._db.execute(f"PRAGMA max_page_count = {pages}")

    async def make_room() -> None:
        limit(1_000_000)

    limit(store._db.execute("PRAGMA page_count").fetchone()[0] + 2)
    await loses_nothing(store, large(MIB), "database or disk is full", make_room)


async def test_a_full_disk_under_postgres(postgres_shards: list[Postgres]):
    """The server's process for this store may write no larger files: what it says and does is the same."""
    store = PostgresStore(await empty(postgres_shards[0]))
    await store.read()
    assert store._connection is not None
    process = await store._connection.fetchval("SELECT pg_backend_pid()")

    def limit(bytes_: object) -> None:
        command = ["prlimit", "--pid", str(process), f"--fsize={bytes_}:"]
        subprocess.run(command, check=True, capture_output=True, **account.popen_options())

    async def make_room() -> None:
        limit("unlimited")

    await store._connection.execute(GROW)
    limit(LARGEST_FILE)
    await loses_nothing(store, large(MIB), "could not .* file .*: File too large", make_room)


async def test_a_full_disk_under_etcd(small_etcd: Etcd):
    """Here there is room again only when somebody makes it, and says so: etcd's own rule."""
    store = EtcdStore(prefixed(small_etcd))
    await loses_nothing(store, large(2 * QUOTA), "database space exceeded", lambda: tidy(small_etcd))
    pieces = EtcdStore(f"etcd://{small_etcd.address}/tests")
    assert await pieces._range("", "~", limit=1000) != {}
    assert [key for key in await pieces._range("", "~", limit=1000) if "/pieces/" in key] == []
    await pieces.close()


async def tidy(etcd: Etcd) -> None:
    async with httpx.AsyncClient(base_url=f"http://{etcd.address}/v3/", timeout=20) as client:
        header = (await client.post("kv/range", json={"key": "AA=="})).json()["header"]
        for path, body in (
            ("kv/compaction", {"revision": header["revision"], "physical": True}),
            ("maintenance/defragment", {}),
            ("maintenance/alarm", {"action": "DEACTIVATE", "memberID": header["member_id"], "alarm": "NOSPACE"}),
        ):
            (await client.post(path, json=body)).raise_for_status()


async def test_an_etcd_that_dies_and_forgets_its_past_keeps_ours(small_etcd: Etcd):
    store = EtcdStore(prefixed(small_etcd))
    for revision in range(3):
        await put(store, entry("a", str(revision)), expected=revision)
    small_etcd.kill()
    for ask in (store.read, lambda: put(store, entry("b"), expected=3)):
        with pytest.raises(StoreFailed, match=f"the store etcd {small_etcd.address}"):
            await ask()
    await asyncio.to_thread(small_etcd.start)
    waiting = asyncio.create_task(store.wait(3))
    await tidy(small_etcd)
    assert await put(store, entry("b"), expected=3) == 4
    assert await asyncio.wait_for(waiting, 20) == 4
    assert [found.value["spec"] for found in (await store.at(2)).entries.values()] == ["1"]
    assert (await verify(store)).broken == ""
    await store.close()


async def test_a_postgres_that_dies_and_returns_is_gone_on_with():
    server = await asyncio.to_thread(start, lambda: Postgres("dies").start())
    store = PostgresStore(await empty(server))
    await put(store, entry("a"), expected=0)
    await asyncio.to_thread(server.kill)
    for ask in (store.read, lambda: put(store, entry("b"), expected=1)):
        with pytest.raises(StoreFailed, match=f"the store {server.address}"):
            await ask()
    await asyncio.to_thread(server.start)
    assert await put(store, entry("b"), expected=1) == 2
    assert (await verify(store)).broken == ""
    await store.close()
    await asyncio.to_thread(server.kill)
