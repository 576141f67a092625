"""The shop at work: a handful of loops, each with its pace, everything they see in the ledger."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ..ledger import Ledger
from .cache import Cache
from .events import Events
from .orders import Database

HOST = "localhost"
CUSTOMERS = 200
BROWSERS = 4  # side by side, so that the catalog is read often on a slow machine too


@dataclass(frozen=True)
class Addresses:
    """The ports on localhost that the shop was given."""

    database: int
    cache: int
    events: int


@dataclass
class Books:
    """What the shop knows it did. Of an operation whose answer got lost it knows neither that it did nor that it did not."""

    placed: dict[int, tuple[int, int]] = field(default_factory=dict)  # order -> customer, total
    unknown: set[int] = field(default_factory=set)
    announced: set[int] = field(default_factory=set)  # orders whose event was acknowledged
    clicks: int = 0
    unknown_clicks: int = 0


class Shop:
    """`taking_orders` lets orders be placed; until then the shop only looks at its empty order table."""

    def __init__(self, addresses: Addresses, ledger: Ledger) -> None:
        self.addresses, self.ledger, self.books = addresses, ledger, Books()
        self.taking_orders = asyncio.Event()
        self._desk = asyncio.Lock()  # held while an order is placed and announced
        self._order_numbers = itertools.count(1)
        self._customers = 0
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connects as any application does at its start, and begins to work."""
        self.database = await Database.connect(HOST, self.addresses.database)
        self.cache = Cache(HOST, self.addresses.cache)
        await self.cache.fill_catalog()
        self.events = Events(f"{HOST}:{self.addresses.events}")
        await self.events.start()
        paces = [
            (self._sign_up, 0.05),
            (self._look_around, 0.03),
            (self._take_order, 0.02),
            (self._keep_books, 0.25),
            *[(self._browse, 0.02)] * BROWSERS,
            (self._fill_cart, 0.01),
            (self._click, 0.02),
        ]
        self._loops = [asyncio.create_task(_paced(every_s, step)) for step, every_s in paces]

    async def stop(self) -> None:
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.database.close()
        await self.cache.close()
        await self.events.close()

    @asynccontextmanager
    async def stocktaking(self) -> AsyncIterator[None]:
        """No order is placed inside and none is under way: so that two counts can be compared."""
        async with self._desk:
            yield

    async def _sign_up(self) -> None:
        if self._customers < CUSTOMERS:
            _, trouble = await self.ledger.record("sql sign up", self.database.sign_up(self._customers + 1))
            if trouble in (None, "refused"):  # refused as a duplicate: it had arrived although its answer did not
                self._customers += 1

    async def _look_around(self) -> None:
        customer = random.randint(1, max(1, self._customers))
        await self.ledger.record("sql customer", self.database.customer_name(customer))
        await self.ledger.record("sql orders of customer", self.database.orders_of(customer))

    async def _take_order(self) -> None:
        await self.taking_orders.wait()
        async with self._desk:
            await self._order(random.randint(1, max(1, self._customers)), next(self._order_numbers))

    async def _order(self, customer: int, order: int) -> None:
        total = random.randint(5, 200)
        _, trouble = await self.ledger.record("sql place order", self.database.place_order(customer, order, total))
        if trouble is None:
            self.books.placed[order] = (customer, total)
            _, trouble = await self.ledger.record("kafka order event", self.events.order_placed(customer, order))
            if trouble is None:
                self.books.announced.add(order)
        elif trouble != "refused":
            self.books.unknown.add(order)

    async def _keep_books(self) -> None:
        await self.ledger.record("sql latest orders", self.database.latest_orders())
        await self.ledger.record("sql turnover", self.database.turnover())

    async def _browse(self) -> None:
        await self.ledger.record("cache catalog", self.cache.product(random.randrange(1000)))

    async def _fill_cart(self) -> None:
        cart = random.randrange(1000)
        await self.ledger.record("cache cart", self.cache.put_in_cart(cart, cart))
        await self.ledger.record("cache carts (MGET)", self.cache.carts(cart))

    async def _click(self) -> None:
        _, trouble = await self.ledger.record("kafka click", self.events.clicked(self.books.clicks))
        if trouble is None:
            self.books.clicks += 1
        elif trouble != "refused":
            self.books.unknown_clicks += 1


async def _paced(every_s: float, step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.gather(step(), asyncio.sleep(every_s))
