"""The shop's database: customers, and their orders. Ordinary SQL over one asyncpg pool."""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]

CONNECTIONS = 4
STATEMENT_DEADLINE_S = 10.0

SCHEMA = """
create table customers (id bigint primary key, name text not null);
create table orders (customer_id bigint not null, id bigint not null, total bigint not null, primary key (customer_id, id));
"""


class Database:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, host: str, port: int) -> Database:
        pool = await asyncpg.create_pool(
            host=host, port=port, user="shop", database="shop",
            min_size=CONNECTIONS, max_size=CONNECTIONS, command_timeout=STATEMENT_DEADLINE_S,
        )  # fmt: skip
        return cls(pool)

    async def sign_up(self, customer: int) -> None:
        await self._pool.execute("insert into customers (id, name) values ($1, $2)", customer, f"customer {customer}")

    async def customer_name(self, customer: int) -> str | None:
        return await self._pool.fetchval("select name from customers where id = $1", customer)

    async def place_order(self, customer: int, order: int, total: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("insert into orders (customer_id, id, total) values ($1, $2, $3)", customer, order, total)

    async def orders_of(self, customer: int) -> list[int]:
        rows = await self._pool.fetch("select id from orders where customer_id = $1 order by id", customer)
        return [row["id"] for row in rows]

    async def latest_orders(self, count: int = 5) -> list[int]:
        rows = await self._pool.fetch(f"select id from orders order by id desc limit {int(count)}")
        return [row["id"] for row in rows]

    async def turnover(self) -> tuple[int, int]:
        """How many orders, and their total."""
        row = await self._pool.fetchrow("select count(*) as orders, sum(total) as total from orders")
        return row["orders"], int(row["total"] or 0)

    async def close(self) -> None:
        await self._pool.close()
