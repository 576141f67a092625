"""Session state under transaction pooling: as on a direct connection, pinned only while it is there, never another client's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.postgres.raw import Connection
from tests.integration.process import Sidecar


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that lets everybody in, so that raw clients reach it directly as well."""
    one = start(lambda: Postgres("state", database="shop", users={"app": "app-password"}, auth="trust").start())
    one.sql("create role other")
    one.sql("grant other to app")
    one.sql('grant create on database shop to "app"')
    yield one
    one.kill()


@pytest.fixture(scope="module")
def single(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A sidecar with one connection to the server: who keeps it keeps everybody else out."""
    port = ports.free()
    objects_yaml = objects([server], port, size=1, pool=", waitTimeout: 5s")
    sidecar = Sidecar(objects_yaml, tmp_path_factory.mktemp("state") / "sidecar", env=ENVIRONMENT)
    sidecar.start()
    yield Mesh(sidecar, port, [server])
    sidecar.stop()


def pair(single: Mesh, work: Callable[[Connection, Connection], Awaitable[Any]], **startup: str) -> Any:
    """Runs `work` on two clients of the sidecar; the first has the startup parameters."""

    async def main() -> Any:
        first = await Connection.open(single.port, user="app", database="shop", **startup)
        second = await Connection.open(single.port, user="app", database="shop")
        try:
            return await work(first, second)
        finally:
            await first.close()
            await second.close()

    return asyncio.run(main())


async def value(connection: Connection, sql: str) -> str | None:
    answer = await connection.query(sql)
    assert not answer.error, f"{sql}: {answer.error} {answer.message}"
    return answer.rows[0][0]


async def is_free(other: Connection) -> bool:
    """Whether the sidecar's only connection can be had."""
    asking = asyncio.create_task(other.query("select 1"))
    done, _ = await asyncio.wait([asking], timeout=0.3)
    return bool(done)


SETS = [
    ("set work_mem = '1234kB'", "work_mem", "1234kB"),
    ("set session statement_timeout to 77777", "statement_timeout", "77777ms"),
    ("set search_path = a, \"B c\", 'd''e'", "search_path", 'a, "B c", "d\'e"'),
    ("set time zone interval '-08:00' hour to minute", "timezone", "<-08>+08"),
    ("set datestyle = 'german, ymd'", "datestyle", "German, YMD"),
    ("set names 'latin1'", "client_encoding", "LATIN1"),
    ("set \"My\".Var = 'grün'", "my.var", "grün"),
    ("select set_config('lock_timeout', '5s', false)", "lock_timeout", "5s"),
    ("begin; set work_mem = '2MB'; savepoint a; set work_mem = '3MB'; rollback to a; commit", "work_mem", "2MB"),
    ("set session characteristics as transaction isolation level serializable", "default_transaction_isolation", "serializable"),
    ("do $$ begin set work_mem = '5MB'; end $$", "work_mem", "5MB"),
    ("do $$ begin perform set_config('my.var', 'x', false); end $$", "my.var", "x"),
    ("set role other", "role", "other"),
]


@pytest.mark.parametrize(("statement", "name", "expected"), SETS)
def test_a_parameter_follows_its_client_and_nobody_else(single: Mesh, statement: str, name: str, expected: str) -> None:
    async def work(first: Connection, second: Connection) -> None:
        default = await value(second, f"select current_setting('{name}', true)")
        for statement_part in statement.split("; ") if statement.startswith("begin") else [statement]:
            assert not (await first.query(statement_part)).error
        for _ in range(3):
            assert await value(second, f"select current_setting('{name}', true)") in ([default] if default is not None else [None, ""])
            assert await value(first, f"select current_setting('{name}', true)") == expected
        assert not (await first.query(f"reset {name}")).error
        assert await value(second, "select 1") == "1"
        assert await value(first, f"select coalesce(current_setting('{name}', true), '')") == (default or "")

    pair(single, work)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_stands_behind_an_escaped_quote_is_seen(single: Mesh, in_transaction: bool) -> None:
    """Where strings are standard, the call stands in a string."""
    off, call = "set standard_conforming_strings = off", "select '\\'', set_config('work_mem', '1234kB', false) --'"

    async def work(first: Connection, second: Connection) -> None:
        default = await value(second, "show work_mem")
        for text in ["begin", off, call, "commit"] if in_transaction else [off, "select 1", call]:
            assert not (await first.query(text)).error
        assert await value(first, "show work_mem") == "1234kB"
        asking = asyncio.create_task(value(second, "show work_mem"))
        await first.close()
        assert await asking == default

    pair(single, work)


def test_what_a_transaction_takes_back_was_never_set(single: Mesh) -> None:
    async def work(first: Connection, second: Connection) -> None:
        for statement in ("begin", "set work_mem = '7MB'", "set local lock_timeout = '1s'", "rollback"):
            await first.query(statement)
        await first.query("begin; set local work_mem = '7MB'; select set_config('my.local', '1', true); commit")
        assert await value(second, "show work_mem") == "4MB"
        assert await value(first, "show work_mem") == "4MB"
        assert await value(first, "show lock_timeout") == "0"
        assert await value(first, "select current_setting('my.local', true)") in ("", None)

    pair(single, work)


RESETS = ("reset application_name", "reset all", "set application_name to default", "discard all", "set session application_name = default")


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("extended", [False, True])
def test_reset_leads_to_the_startup_message(single: Mesh, server: Postgres, reset: str, extended: bool) -> None:
    startup = {"application_name": "mine", "options": "-c work_mem=9MB"}

    async def told(connection: Connection) -> list[object]:
        seen: list[object] = []
        for statement in (
            "set application_name = 'x'",
            "set work_mem = '1MB'",
            "set timezone = 'UTC'",
            reset,
            "show application_name",
            "show work_mem",
        ):
            answer = await (connection.execute(statement) if extended else connection.query(statement))
            seen.append((statement, answer.told(), dict(connection.parameters)))
        return seen

    async def direct() -> list[object]:
        connection = await Connection.open(server.port, user="app", database="shop", **startup)
        seen = await told(connection)
        await connection.close()
        return seen

    async def work(first: Connection, second: Connection) -> list[object]:
        seen = await told(first)
        assert await value(second, "show application_name") == ""
        assert await value(second, "show work_mem") == "4MB"
        return seen

    assert pair(single, work, **startup) == asyncio.run(direct())


KEPT = [
    (["create temp table t (a int)"], ["drop table t"]),
    (["create temp table t (a int)"], ["discard temp"]),
    (["select 1 as a into temp t"], ["drop table pg_temp.t"]),
    (["create function pg_temp.f() returns int language sql as 'select 1'"], ["drop function pg_temp.f()"]),
    (["set search_path = pg_temp", "create table t (a int)", "reset search_path"], ["drop table t"]),
    (["begin", "declare c cursor with hold for select generate_series(1, 9)", "fetch c", "commit"], ["close c"]),
    (["declare c cursor with hold for select 1"], ["close all"]),
    (["select pg_advisory_lock(5)"], ["select pg_advisory_unlock(5)"]),
    (["begin", "select pg_try_advisory_lock_shared(5)", "rollback"], ["select pg_advisory_unlock_all()"]),
    (["listen x"], ["unlisten x"]),
    (["begin", "listen x", "commit"], ["unlisten *"]),
    (["prepare p as select 1"], ["deallocate p"]),
    (["prepare p as select 1"], ["deallocate all"]),
    (["do $$ begin create temp table t (a int); end $$"], ["drop table t"]),
    (["create temp table t (a int)", "listen x", "prepare p as select 1", "select pg_advisory_lock(5)"], ["discard all"]),
]


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize(("makes", "ends"), KEPT)
def test_state_keeps_the_connection_until_it_is_gone(single: Mesh, makes: list[str], ends: list[str], extended: bool) -> None:
    async def work(first: Connection, second: Connection) -> None:
        for statement in makes:
            answer = await (first.execute(statement) if extended else first.query(statement))
            assert not answer.error, answer.message
        assert not await is_free(second)
        for statement in ends:
            answer = await (first.execute(statement) if extended else first.query(statement))
            assert not answer.error, answer.message
        assert await value(second, "select 1") == "1"

    pair(single, work)


PASSING = (
    ["begin", "create temp table t (a int)", "rollback"],
    ["begin", "create temp table t (a int) on commit drop", "commit"],
    ["begin", "declare c cursor with hold for select 1", "rollback"],
    ["begin", "declare c cursor for select 1", "commit"],
    ["begin", "select pg_advisory_xact_lock(5)", "commit"],
    ["begin", "listen x", "rollback"],
    ["begin", "select lo_open(lo_creat(-1), 131072)", "commit"],
    ["select temp from (values (1)) x (temp)"],
    ["set work_mem = '1MB'"],
    ["do $$ begin perform 1; end $$"],
    ["notify x, 'y'"],
)


@pytest.mark.parametrize("statements", PASSING)
def test_what_ends_with_its_transaction_keeps_nothing(single: Mesh, statements: list[str]) -> None:
    async def work(first: Connection, second: Connection) -> None:
        for statement in statements:
            answer = await first.query(statement)
            assert not answer.error, answer.message
        assert await value(second, "select 1") == "1"

    pair(single, work)


@pytest.mark.parametrize("makes", [makes for makes, _ in KEPT] + [["select setseed(0.5)"]])
def test_nothing_of_a_client_that_went_is_left(single: Mesh, server: Postgres, makes: list[str]) -> None:
    look = (
        "select (select count(*) from pg_locks where locktype = 'advisory'), (select count(*) from pg_cursors),"
        " (select count(*) from pg_prepared_statements where from_sql), (select count(*) from pg_listening_channels()),"
        " (select count(*) from pg_depend where refclassid = 'pg_namespace'::regclass and refobjid = pg_my_temp_schema())"
    )

    async def work(first: Connection, second: Connection) -> None:
        for statement in makes:
            answer = await first.query(statement)
            assert not answer.error, answer.message
        await first.close()
        answer = await second.query(look)
        assert answer.rows == [("0", "0", "0", "0", "0")]

    pair(single, work)


FUNCTIONS = [
    ("create function sets() returns text language sql as $$ select set_config('work_mem', '6MB', false) $$", "sets", False),
    (
        "create function makes_up() returns text language plpgsql as $$ begin perform set_config('a.b', 'x', false); return 1; end $$",
        "makes_up",
        False,
    ),
    ("create function outer_one() returns text language plpgsql as $$ begin return sets(); end $$", "outer_one", False),
    ("create function makes() returns void language plpgsql as $$ begin create temp table t (a int); end $$", "makes", True),
    ("create function locks() returns void language plpgsql as $$ begin execute 'select pg_advisory_' || 'lock(7)'; end $$", "locks", True),
    ("create function adds(a int) returns int language sql as 'select a + 1'", "adds", False),
]


def test_functions_that_change_the_session_are_found(single: Mesh, server: Postgres) -> None:
    for text, name, _ in FUNCTIONS:
        server.sql(f"drop function if exists {name}")
        server.sql(text)

    async def work(first: Connection, second: Connection) -> None:
        for _, name, keeps in FUNCTIONS:
            for statement in (f"select {name}({'1' if name == 'adds' else ''})", "select 1"):
                answer = await first.execute(statement)
                assert not answer.error, (name, answer.message)
            assert await is_free(second) == (not keeps), name
            if keeps:
                await first.query("discard all")
                continue
            assert await value(second, "select coalesce(current_setting('a.b', true), '')") == ""
            assert await value(second, "show work_mem") == "4MB"
            assert await value(first, "show work_mem") == ("4MB" if name == "adds" else "6MB"), name
        # What was harmless is not any more.
        body = "begin create temp table t (a int); return 1; end"
        for statement in (
            "drop function if exists mine(int)",
            "create function mine(a int) returns int language sql as 'select 1'",
            "select mine(1)",
        ):
            assert not (await first.query(statement)).error
        assert await is_free(second)
        await first.query(f"create or replace function mine(a int) returns int language plpgsql as '{body}'")
        await first.query("select mine(1)")
        assert not await is_free(second)

    pair(single, work)


def test_notifications_reach_idle_listeners_and_only_them(mesh: Callable[..., Mesh], server: Postgres) -> None:
    one = mesh([server], size=3)

    async def main() -> None:
        listener, other, talker = [await one.connect() for _ in range(3)]
        heard: asyncio.Queue[str] = asyncio.Queue()
        await listener.add_listener("news", lambda _connection, _pid, _channel, payload: heard.put_nowait(payload))
        await other.add_listener("weather", lambda *_: heard.put_nowait("wrong"))
        for n in range(50):
            await talker.execute("select pg_notify('news', $1)", str(n))
        assert [await asyncio.wait_for(heard.get(), 10) for _ in range(50)] == [str(n) for n in range(50)]
        await listener.reset()  # UNLISTEN *
        await talker.execute("notify news, 'late'")
        assert await listener.fetchval("select 1") == 1
        assert heard.empty()
        for connection in (listener, other, talker):
            await connection.close()

    asyncio.run(main())


def test_a_sequences_value_is_the_clients_own_or_an_error(single: Mesh, server: Postgres) -> None:
    server.sql("drop sequence if exists s")
    server.sql("create sequence s start 100")
    server.sql("grant all on sequence s to app")

    async def work(first: Connection, second: Connection) -> None:
        assert await value(first, "select nextval('s')") == "100"
        assert await value(second, "select 1") == "1"
        for connection in (second, first):
            assert (await connection.query("select lastval()")).error == "55000"
            assert (await connection.execute("select currval('s')")).error == "55000"
        # Both are known now to ask for it: each keeps its connection once it has a value.
        assert await value(first, "select nextval('s')") == "101"
        assert not await is_free(second)
        assert await value(first, "select lastval()") == "101"
        assert (await first.execute("select currval('s')")).rows == [("101",)]
        await first.query("discard sequences")
        await value(second, "select 1")
        assert (await first.query("select lastval()")).error == "55000"

    pair(single, work)


def test_a_seed_is_its_clients_own(single: Mesh) -> None:
    async def work(first: Connection, second: Connection) -> None:
        await first.query("select setseed(0.25)")
        chosen = await value(first, "select random()")
        await first.query("select setseed(0.25)")
        assert await value(first, "select random()") == chosen
        await first.query("select setseed(0.25)")
        await first.close()
        assert await value(second, "select random()") != chosen

    pair(single, work)


def test_a_cancelled_question_is_asked_again(single: Mesh) -> None:
    async def work(first: Connection, second: Connection) -> None:
        await first.query("set statement_timeout = '1us'")
        for _ in range(3):
            await first.query("select pg_advisory_unlock_all()")
        await first.query("set statement_timeout = 0")
        assert await value(first, "show statement_timeout") == "0"
        assert await value(second, "show statement_timeout") == "0"

    pair(single, work)


def test_sharded_sessions_have_their_parameters_on_every_shard(shards: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("set extra_float_digits = 0; set intervalstyle = 'iso_8601'")
        for customer in range(20):
            await connection.execute("insert into orders (id, customer_id, note) values ($1, $2, $3)", customer, customer, "x")
        rows = await connection.fetch("select current_setting('intervalstyle') as style, count(*) as n from orders group by 1")
        assert {row["style"] for row in rows} == {"iso_8601"}
        await connection.execute("set search_path = nowhere")
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetch("select count(*) from orders")
        await connection.execute("reset search_path")
        assert await connection.fetchval("select count(*) from orders") == 20

    shards.run(work)
