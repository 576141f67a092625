"""Several control planes over one store: any may die, all may write, and sidecars spread over them."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_core.cli import families
from mesh_core.control.plane import ControlPlane, Source
from mesh_core.demo import objects as demo
from mesh_core.demo.ledger import Ledger
from mesh_core.demo.shop import Addresses, Shop, classify
from mesh_core.demo.shop.orders import SCHEMA
from mesh_core.lab import MockKafka, Postgres, RedisCluster, ports
from tests.conftest import start
from tests.integration.control.objects import relay
from xds.client.ads import AdsClient
from xds.protocol.client import Update
from xds.server.hub import Hub
from xds.store.base import Store
from xds.store.postgres import PostgresStore
from xds.store.sqlite import SqliteStore

WITHIN_S = 60
SIDECARS = 12
TYPES = ("type.googleapis.com/envoy.config.cluster.v3.Cluster", "type.googleapis.com/envoy.config.listener.v3.Listener")
# Of load after all control planes have died and all sidecars were started again; MIDSTREAM_DRILL_SECONDS=300 is the long drill.
DRILL_S = float(os.environ.get("MIDSTREAM_DRILL_SECONDS", "4"))


class Follower:
    """A client of all of them. `given` counts resources that it was sent."""

    def __init__(self, node: str, targets: str) -> None:
        self.connected = ""
        self.given = 0
        self.news = asyncio.Event()
        self.client = AdsClient([targets], node, TYPES, self._on_update, on_connection=self._on_connection)
        self.task = asyncio.create_task(self.client.run())

    async def _on_update(self, update: Update) -> list:
        self.given += len(update.changed)
        self.news.set()
        return []

    def _on_connection(self, target: str | None) -> None:
        self.connected = target or ""
        self.news.set()

    def holds(self, name: str) -> bool:
        return any(found == name for _, found in self.client.machine.held)

    async def until(self, true) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not true(self):
                self.news.clear()
                await self.news.wait()
                await asyncio.sleep(0)  # what was given is held when this turn is over


async def test_any_of_three_control_planes_may_die_and_what_was_held_is_not_sent_again(control, tmp_path: Path):
    store = ("--store", str(tmp_path / "shared.db"))
    planes = await asyncio.gather(*(asyncio.to_thread(control, *store) for _ in range(3)))
    await asyncio.to_thread(planes[0].apply, relay("first", "127.0.0.1:5432"))
    followers = [Follower(f"shop-{number}", ",".join(plane.grpc for plane in planes)) for number in range(SIDECARS)]
    try:
        for follower in followers:
            await follower.until(lambda found: found.holds("first"))
        spread = Counter(follower.connected for follower in followers)
        fullest = next(plane for plane in planes if plane.grpc == spread.most_common(1)[0][0])
        await asyncio.to_thread(fullest.kill)
        others = {plane.grpc for plane in planes if plane is not fullest}
        for follower in followers:
            await follower.until(lambda found: found.connected in others)
        assert all(follower.given == 2 for follower in followers)
        alive = next(plane for plane in planes if plane is not fullest)
        applied = await asyncio.to_thread(alive.apply, relay("second", "127.0.0.1:5433"))
        assert applied.returncode == 0, applied.stderr
        for follower in followers:
            await follower.until(lambda found: found.holds("second"))
        assert all(follower.given == 4 for follower in followers)
    finally:
        for follower in followers:
            follower.task.cancel()
        await asyncio.gather(*(follower.task for follower in followers), return_exceptions=True)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_two_control_planes_that_write_at_once_lose_nothing_and_publish_the_same(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    if kind == "postgres":
        server = request.getfixturevalue("postgres_shards")[0]
        await asyncio.to_thread(server.sql, "DROP SCHEMA IF EXISTS midstream CASCADE")  # what other tests left
        url = server.dsn()
    planes: list[ControlPlane] = []
    for _ in range(2):
        store: Store = PostgresStore(url) if kind == "postgres" else SqliteStore(tmp_path / "shared.db")
        planes.append(ControlPlane(store, families().kinds, Hub()))
        await planes[-1].start()
    before = planes[0].contents.revision
    names = [f"{kind}-{number}" for number in range(16)]
    await asyncio.gather(
        *(
            planes[number % 2].apply([Source("shop.yaml", relay(name, f"127.0.0.1:{6000 + number}"))], author=str(number % 2))
            for number, name in enumerate(names)
        )
    )
    newest = max(plane.contents.revision for plane in planes)
    assert newest == before + len(names)  # each change is one revision
    for plane in planes:
        await asyncio.wait_for(plane.store.wait(newest - 1), WITHIN_S)
        await plane.plan([Source("shop.yaml", relay(names[0], "127.0.0.1:6000"))])  # it decides on what the store holds
    assert planes[0].hub.snapshot.version == planes[1].hub.snapshot.version
    assert all(("TcpService", name) in plane.objects for plane in planes for name in names)
    await planes[0].delete([(key_kind, name) for name in names for key_kind in ("Listener", "TcpService")])
    for plane in planes:
        await plane.store.close()


@pytest.fixture
def database() -> Iterator[Postgres]:
    server = start(lambda: Postgres("shop", database="shop", users={"shop": "shop-password"}, auth="trust").start())
    for statement in filter(str.strip, SCHEMA.split(";")):
        server.sql(statement, user="shop")
    yield server
    server.kill()


def shop_objects(database: Postgres, cache: RedisCluster, kafka: MockKafka, addresses: Addresses) -> str:
    brokers = ports.prefer_range(19100, 4)
    where = {
        "shop": str(addresses.database),
        "cache": str(addresses.cache),
        "events": str(addresses.events),
        "brokers": f"{brokers[0]}-{brokers[-1]}",
    }
    return demo.base([database.address], cache.addresses[:3], kafka.bootstrap(), where).text


@pytest.mark.timeout(DRILL_S + 120)
def test_without_any_control_plane_restarted_sidecars_serve_three_families_without_an_error(
    control, sidecar, tmp_path: Path, database: Postgres, redis_cluster: RedisCluster, mock_kafka: MockKafka
):
    store = ("--store", str(tmp_path / "shared.db"))
    planes = [control(*store) for _ in range(2)]
    addresses = Addresses(ports.free(), ports.free(), ports.free())
    written = shop_objects(database, redis_cluster, mock_kafka, addresses)
    applied = planes[0].apply(written)
    assert applied.returncode == 0, applied.stderr
    targets = ",".join(plane.grpc for plane in planes)
    one = sidecar(control=targets, node="shop-1", env={demo.PASSWORD_VARIABLE: "shop-password"})
    for plane in planes:
        plane.kill()
    one.kill()
    one.start()
    assert "last good" in one.first_line
    ledger = Ledger(classify)
    ledger.begin("alone")
    shop = Shop(addresses, ledger)

    async def work() -> None:
        await shop.start()
        shop.taking_orders.set()
        await asyncio.sleep(DRILL_S)
        await shop.stop()

    asyncio.run(asyncio.wait_for(work(), DRILL_S + WITHIN_S))
    done = {name: tally.done for name, tally in ledger.here().items()}
    print(f"without a control plane for {DRILL_S:.0f} s: {sum(done.values())} operations: {done}")
    assert not {name: tally.last_trouble for name, tally in ledger.here().items() if tally.troubles}
    assert all(any(name.startswith(family) for name in done) for family in ("sql", "cache", "kafka"))
