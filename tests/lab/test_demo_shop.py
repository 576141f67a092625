"""The demo's shop without the mesh: the same application straight on one server of each kind, and what it notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import pytest
import redis

from mesh_core.demo.ledger import Ledger
from mesh_core.demo.shop import Addresses, Shop, classify
from mesh_core.demo.shop.orders import SCHEMA
from mesh_core.lab import MockKafka, Postgres, RedisServer
from tests.conftest import start

OPERATIONS = {
    "sql sign up",
    "sql customer",
    "sql orders of customer",
    "sql place order",
    "sql latest orders",
    "sql turnover",
    "cache catalog",
    "cache cart",
    "cache carts (MGET)",
    "kafka order event",
    "kafka click",
}


@pytest.fixture
def servers(mock_kafka: MockKafka) -> Iterator[tuple[Postgres, RedisServer, MockKafka]]:
    database = start(lambda: Postgres("shop", database="shop", users={"shop": "unused"}, auth="trust").start())
    cache = start(lambda: RedisServer().start())
    for statement in filter(str.strip, SCHEMA.split(";")):
        database.sql(statement, user="shop")
    yield database, cache, mock_kafka
    database.kill()
    cache.kill()


def shop_on(servers: tuple[Postgres, RedisServer, MockKafka]) -> Shop:
    database, cache, kafka = servers
    ledger = Ledger(classify)
    ledger.begin("test")
    return Shop(Addresses(database.port, cache.port, int(kafka.bootstrap()[0].split(":")[1])), ledger)


async def until(condition: Callable[[], object]) -> None:
    """Tests bound it by their own deadline."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


def test_the_shop_and_its_books_agree_with_the_servers(servers: tuple[Postgres, RedisServer, MockKafka]) -> None:
    shop = shop_on(servers)

    async def a_day() -> None:
        await shop.start()
        shop.taking_orders.set()
        await until(lambda: all(shop.ledger.tally(name).done for name in OPERATIONS))
        async with shop.stocktaking():
            placed = dict(shop.books.placed)
            rows = await servers[0].fetch("select customer_id, id, total from orders")
            assert {row["id"]: (row["customer_id"], row["total"]) for row in rows} == placed
            assert await shop.database.turnover() == (len(placed), sum(total for _, total in placed.values()))
            assert await shop.database.latest_orders(3) == sorted(placed, reverse=True)[:3]
            await until(lambda: shop.books.announced <= shop.events.received)
            assert shop.books.announced == placed.keys()
        await shop.stop()

    asyncio.run(asyncio.wait_for(a_day(), 90))
    assert not any(tally.troubles for tally in shop.ledger.here().values())


def test_the_ledger_tells_a_dropped_connection_from_a_refusal(servers: tuple[Postgres, RedisServer, MockKafka]) -> None:
    shop = shop_on(servers)

    async def a_bad_day() -> None:
        await shop.start()
        await asyncio.wait_for(shop.ledger.record("read", shop.cache.product(1)), 10)
        servers[0].sql("revoke all on customers from shop")
        await until(lambda: shop.ledger.tally("sql customer").troubles["refused"])
        await asyncio.to_thread(servers[1].kill)
        await until(lambda: shop.ledger.tally("cache catalog").troubles["dropped"])
        await shop.stop()

    asyncio.run(asyncio.wait_for(a_bad_day(), 60))
    assert not shop.ledger.tally("sql customer").troubles["dropped"]
    assert not shop.ledger.tally("cache catalog").troubles["failed"]


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (TimeoutError(), "late"),
        (redis.TimeoutError(), "late"),
        (ConnectionResetError(), "dropped"),
        (asyncpg.ConnectionDoesNotExistError(), "dropped"),
        (asyncpg.InsufficientPrivilegeError(), "refused"),
        (redis.ResponseError(), "refused"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_troubles(error: Exception, trouble: str) -> None:
    assert classify(error) == trouble


def test_percentiles_are_of_the_successes() -> None:
    ledger = Ledger(classify)
    ledger.begin("one")

    async def three() -> None:
        async def fails() -> None:
            raise ConnectionResetError

        await ledger.record("op", asyncio.sleep(0))
        await ledger.record("op", asyncio.sleep(0.02))
        await ledger.record("op", fails())

    asyncio.run(three())
    tally = ledger.tally("op")
    assert tally.done == 2 and tally.percentile_ms(99) >= 20 > tally.percentile_ms(0)
    assert tally.troubles == {"dropped": 1} and "ConnectionResetError" in tally.last_trouble
    ledger.begin("two")
    assert ledger.tally("op").done == 0 and ledger.tally("op", "one").done == 2
