"""The shop's events: one topic that the warehouse lives on, one of clicks. Ordinary aiokafka."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped]

ORDERS, CLICKS = "shop-orders", "shop-clicks"
ANSWER_DEADLINE_MS = 15_000


class Events:
    """`received` are the order ids that the warehouse, a consumer group of its own, has read so far."""

    def __init__(self, address: str) -> None:
        self._options = {"bootstrap_servers": address, "request_timeout_ms": ANSWER_DEADLINE_MS}
        self.received: set[int] = set()

    async def start(self) -> None:
        self._producer = AIOKafkaProducer(**self._options, acks="all", linger_ms=0)
        await self._producer.start()
        self._warehouse = AIOKafkaConsumer(ORDERS, **self._options, group_id="warehouse", auto_offset_reset="earliest", metadata_max_age_ms=5000)
        await self._warehouse.start()
        self._reading = asyncio.create_task(self._read())

    async def order_placed(self, customer: int, order: int) -> None:
        await self._producer.send_and_wait(ORDERS, b"%d" % order, key=b"%d" % customer)

    async def clicked(self, number: int) -> None:
        await self._producer.send_and_wait(CLICKS, b"%d" % number)

    async def close(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        await self._warehouse.stop()
        await self._producer.stop()

    async def _read(self) -> None:
        async for record in self._warehouse:
            self.received.add(int(record.value))
