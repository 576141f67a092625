"""The shop's cache: a catalog that is read a lot, and carts. An ordinary redis-py client, not its cluster client."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

PRODUCTS = 200
CARTS = 300
ANSWER_DEADLINE_S = 15.0  # longer than a failover: late answers are told from none


class Cache:
    def __init__(self, host: str, port: int) -> None:
        # no retries of its own: a dropped connection has to be seen to be counted
        self._client: Redis = Redis(host=host, port=port, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_DEADLINE_S)

    async def fill_catalog(self) -> None:
        await self._client.mset({f"catalog:{number}": f"product {number}" for number in range(PRODUCTS)})

    async def product(self, number: int) -> str | None:
        return await self._client.get(f"catalog:{number % PRODUCTS}")

    async def put_in_cart(self, number: int, product: int) -> None:
        await self._client.set(f"cart:{number % CARTS}", product)

    async def carts(self, first: int, count: int = 5) -> list[str | None]:
        return await self._client.mget([f"cart:{(first + offset) % CARTS}" for offset in range(count)])

    async def close(self) -> None:
        await self._client.aclose()
