"""A client of the sidecar and its twin with a connection of its own: whatever they do, they have to be told the same."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from tests.integration.postgres.raw import Answer, Connection

REMEMBERED = 30

# Everything of a session that a statement can see; made-up parameters are '' where they were never set on that connection.
OBSERVED = (
    "work_mem lock_timeout statement_timeout application_name search_path datestyle timezone extra_float_digits intervalstyle bytea_output "
    "jit default_transaction_isolation client_encoding standard_conforming_strings random_page_cost role my.var my.other"
)
OBSERVE = "select {}, {}".format(
    ", ".join(f"coalesce(current_setting('{name}', true), '')" for name in OBSERVED.split()),
    "(select count(*) from pg_cursors), (select count(*) from pg_prepared_statements where from_sql),"
    " (select string_agg(channel, ',' order by channel) from pg_listening_channels() channel),"
    " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
    " to_regclass('pg_temp.tt') is not null, current_user, pg_is_other_temp_schema(pg_my_temp_schema())",
)
# What keeps a connection while no transaction is open.
KEEPS = (
    "select (select count(*) from pg_cursors where is_holdable) + (select count(*) from pg_prepared_statements where from_sql)"
    " + (select count(*) from pg_listening_channels()) + (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"
    " + (select count(*) from pg_depend where refclassid = 2615 and refobjid = pg_my_temp_schema())"
    " + (current_setting('search_path') like '%pg_temp%')::int"
)


@dataclass
class Twins:
    """`mesh_port` and `direct_port` lead to databases of the same content."""

    number: int
    dice: random.Random
    mesh_port: int
    direct_port: int
    asks_for_sequences: bool = False
    holds: bool = False  # may keep one of the sidecar's connections
    is_seeded: bool = False
    has_written: bool = False
    forgotten: int = 0  # sequence values that the mesh did not tell, with an error
    steps: int = 0
    past: list[str] = field(default_factory=list)
    mesh: Connection = field(init=False)
    direct: Connection = field(init=False)

    async def open(self) -> None:
        startup = {"application_name": "reader" if self.asks_for_sequences else f"c{self.number % 3}"}
        if self.dice.random() < 0.5:
            startup["options"] = self.dice.choice(["-c work_mem=3MB", "-c timezone=UTC -c search_path=a,public"])
        self.past.append(f"connect {startup}")
        self.mesh, self.direct = await asyncio.gather(
            Connection.open(self.mesh_port, user="app", database="shop", **startup),
            Connection.open(self.direct_port, user="app", database="twin", **startup),
        )
        self.is_seeded = self.has_written = self.holds = False
        self.compare("parameters", self.mesh.parameters, self.direct.parameters)

    async def close(self) -> None:
        await asyncio.gather(self.mesh.close(), self.direct.close())

    async def run(self, sql: str) -> None:
        """Both do it, in either protocol."""
        self.steps += 1
        is_extended = ";" not in sql and self.dice.random() < 0.3
        name = f"n{self.steps}" if self.dice.random() < 0.5 else ""
        self.past = [*self.past[-REMEMBERED:], f"{'extended ' if is_extended else ''}{sql}"]
        both = (self.mesh, self.direct)
        mesh, direct = await asyncio.gather(*(one.execute(sql, name) if is_extended else one.query(sql) for one in both))
        if "val(" in sql and await self.has_forgotten(mesh, direct):
            return
        self.compare("answer", mesh.told(), direct.told())
        self.compare("status", self.mesh.status, self.direct.status)
        self.compare("parameters", self.mesh.parameters, self.direct.parameters)

    async def has_forgotten(self, mesh: Answer, direct: Answer) -> bool:
        """A sequence's value may be refused in its own words, never be another one."""
        if mesh.error != "55000" or direct.error:
            return False
        self.forgotten += 1
        if self.direct.status != "I":
            await asyncio.gather(self.mesh.query("rollback"), self.direct.query("rollback"))
        return True

    async def observe(self) -> None:
        """Both see the same session."""
        if self.direct.status == "E":
            return
        mesh, direct = await asyncio.gather(self.mesh.query(OBSERVE), self.direct.query(OBSERVE))
        self.compare("session", mesh.told(), direct.told())

    async def look_what_holds(self) -> None:
        is_busy = self.direct.status != "I" or self.is_seeded or (self.asks_for_sequences and self.has_written)
        self.holds = is_busy or (await self.direct.query(KEEPS)).rows != [("0",)]

    async def hear(self) -> None:
        """Both have heard the same notifications; they are told outside of transactions only."""
        if self.direct.status != "I":
            return
        while sorted(self.mesh.notifications) != sorted(self.direct.notifications):
            self.mesh.notified.clear()
            self.direct.notified.clear()
            waits = [asyncio.create_task(one.notified.wait()) for one in (self.mesh, self.direct)]
            done, pending = await asyncio.wait(waits, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if not done:
                self.compare("notifications", sorted(self.mesh.notifications), sorted(self.direct.notifications))

    def compare(self, what: str, mesh: object, direct: object) -> None:
        history = "\n  ".join(self.past)
        assert mesh == direct, f"client {self.number}, {what}:\n mesh   {mesh}\n direct {direct}\nafter\n  {history}"
