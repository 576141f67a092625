"""The upcall handler: what it asks of the live schema, what it keeps, what it says when the schema cannot be read."""

from contextlib import asynccontextmanager

import pytest

from db_mesh.backend import Unreachable
from db_mesh.planner import handler
from db_mesh.planner.handler import Planner
from db_mesh.schema import Schema
from tests.unit.db_mesh.shop import SCHEMA, sharding
from xds.messages import message, serialise, type_url
from xds.protocol.client import Held


class Server:
    """Stands for the home shard: counts how often its schema is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.schema: Schema | Exception = SCHEMA
        self.reads = 0
        monkeypatch.setattr(handler, "connect", self._connect)
        monkeypatch.setattr(handler, "introspect", self._introspect)

    async def _connect(self, resources, database, shard):
        if isinstance(self.schema, Exception):
            raise self.schema
        return self

    async def _introspect(self, connection) -> Schema:
        self.reads += 1
        assert isinstance(self.schema, Schema)
        return self.schema

    async def close(self, **_: float) -> None:
        pass


def held(*, sharded: bool = True) -> list[Held]:
    database = message("midstream.sql.v1.Database")(name="shop")
    database.shards.add(name="s0", cluster="s0")
    database.shards.add(name="s1", cluster="s1")
    found = [Held(type_url("midstream.sql.v1.Database"), "shop", "1", serialise(database))]
    return found + ([Held(type_url("midstream.sql.v1.Sharding"), "shop", "1", serialise(sharding()))] if sharded else [])


def question(sql: str, database: str = "shop") -> bytes:
    return message("midstream.sql.v1.PlanRequest")(sql=sql, database=database).SerializeToString()


def read(answer: bytes):
    return message("midstream.sql.v1.Plan").FromString(answer)


@asynccontextmanager
async def planner(**options: bool):
    one = Planner()
    one.configure(held(**options))
    yield one
    await one.close()


async def test_the_schema_is_read_once_and_again_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    async with planner() as one:
        for sql in ("select id from orders", "select * from settings", "select id from orders"):
            assert not read(await one.answer(question(sql))).route.HasField("refuse")
        assert server.reads == 1
        one.configure(held())
        await one.answer(question("select id from orders"))
        assert server.reads == 2


async def test_a_table_that_appears_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    server.schema = Schema({name: relation for name, relation in SCHEMA.relations.items() if name[1] != "orders"})
    monkeypatch.setattr(handler, "REFRESH_AFTER_S", 0.0)
    async with planner() as one:
        absent = read(await one.answer(question("select id from orders")))
        assert absent.route.refuse.sqlstate == "42P01" and not absent.cacheable
        server.schema = SCHEMA
        assert read(await one.answer(question("select id from orders"))).route.HasField("all")


async def test_without_rules_nobody_asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    async with planner(sharded=False) as one:
        answer = read(await one.answer(question("select * from orders join settings on true")))
        assert answer.route.HasField("home") and answer.cacheable and list(answer.tables) == ["orders", "settings"]
    assert server.reads == 0


async def test_what_cannot_be_looked_at_is_refused_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    server.schema = Unreachable("shard s0 at 127.0.0.1:1: connection refused")
    async with planner() as one:
        answer = read(await one.answer(question("select * from orders")))
        assert answer.route.refuse.sqlstate == "57P03" and "connection refused" in answer.route.refuse.message and not answer.cacheable
        server.schema = SCHEMA
        assert read(await one.answer(question("select * from orders"))).route.HasField("all")


async def test_an_unknown_database_is_the_database_s_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch)
    async with planner() as one:
        assert read(await one.answer(question("select 1", "nowhere"))).route.refuse.sqlstate == "3D000"


async def test_answers_stay_in_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch)
    monkeypatch.setattr(handler, "CACHE_BYTES", 2_000)
    async with planner() as one:
        for number in range(50):
            await one.answer(question(f"select id as c{number} from orders"))
            assert one.cached_bytes <= 2_000


async def test_a_long_statement_is_planned_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch)
    async with planner() as one:
        sql = f"select id from orders where qty in ({', '.join(str(number) for number in range(3000))})"
        assert read(await one.answer(question(sql))).route.HasField("all")
