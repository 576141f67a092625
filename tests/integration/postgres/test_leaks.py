"""Random interleavings of 40 clients' session state over 4 server connections: each sees what its twin on a direct connection sees.

``LEAK_STEPS`` (3000) statements from ``LEAK_SEED`` (random, printed when the test fails).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable, Iterator

import pytest

from mesh_core.lab import Postgres
from tests.conftest import start
from tests.integration.postgres.conftest import Mesh
from tests.integration.postgres.raw import Connection
from tests.integration.postgres.twins import Twins

STEPS = int(os.environ.get("LEAK_STEPS", "3000"))
SEED = int(os.environ.get("LEAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
CLIENTS, CONNECTIONS, AT_ONCE = 40, 4, 8

PARAMETERS = {
    "work_mem": ["'1MB'", "'1234kB'", "77777"],
    "lock_timeout": ["'5s'", "1234"],
    "statement_timeout": ["'50s'", "66666"],
    "application_name": ["'x'", "'it''s'", "'grün'", "''"],
    "search_path": ["a", 'public, "B c"', "''", "pg_catalog, public"],
    "datestyle": ["german", "'sql, dmy'", "ymd"],
    "timezone": ["'Asia/Tokyo'", "-3", "'UTC'"],
    "extra_float_digits": ["0", "3"],
    "intervalstyle": ["iso_8601", "sql_standard"],
    "bytea_output": ["escape", "hex"],
    "jit": ["off", "on"],
    "default_transaction_isolation": ["serializable", "'repeatable read'"],
    "client_encoding": ["latin1", "utf8"],
    "standard_conforming_strings": ["off", "on"],
    "random_page_cost": ["1.25", "3"],
    "role": ["other", "none"],
    "my.var": ["'a'", "'b'", "''"],
    "my.other": ["1", "'x'"],
}


def parameter(dice: random.Random, twins: Twins) -> str:
    name = dice.choice(list(PARAMETERS))
    value = dice.choice(PARAMETERS[name])
    texts = [
        f"set {name} = {value}",
        f"set session {name} to {value}",
        f"set local {name} = {value}",
        f"reset {name}",
        f"set {name} to default",
        f"set local {name} to default",
        f"select set_config('{name}', '{value.strip(chr(39))}', {dice.choice(['true', 'false'])})",
        f"do $$ begin perform set_config('{name}', '{value.strip(chr(39))}', {dice.choice(['true', 'false'])}); end $$",
        f"set {name} = {value}; set local {name} = {dice.choice(PARAMETERS[name])}",
        f"set {name} = {value}; select 1/0",
    ]
    return dice.choice(texts).replace("''s", "s")


def transaction(dice: random.Random, twins: Twins) -> str:
    if twins.direct.status == "I":
        return dice.choice(["begin", "start transaction read only", "begin isolation level serializable"])
    return dice.choice(
        ["commit", "rollback", "savepoint a", "savepoint b", "rollback to a", "rollback to b", "release a", "select 1/0", "end", "abort"]
    )


def temporary(dice: random.Random, twins: Twins) -> str:
    texts = ["create temp table tt (a int)", "create temporary table tt as select 1 as a", "select 1 as a into temp tt", "drop table pg_temp.tt"]
    texts += ["insert into pg_temp.tt values (1)", "discard temp", "table pg_temp.tt", "drop table tt"]
    # A temporary one where the search_path says so; otherwise nobody else's, or one would wait for the other's transaction to end.
    texts += [f"create table tt{twins.number} (a int)", f"drop table tt{twins.number}"]
    return dice.choice([*texts, "set search_path = pg_temp, public", "set local search_path = pg_temp"])


def cursor(dice: random.Random, twins: Twins) -> str:
    texts = [
        "declare c cursor with hold for select generate_series(1, 5)",
        "declare d cursor for select 1",
        "fetch c",
        "move c",
        "close c",
        "close all",
    ]
    return dice.choice(texts)


def lock(dice: random.Random, twins: Twins) -> str:
    kind = dice.choice(["", "try_"])
    texts = [f"select pg_{kind}advisory_lock({twins.number})", f"select pg_{kind}advisory_xact_lock({twins.number})"]
    return dice.choice([*texts, f"select pg_advisory_unlock({twins.number})", "select pg_advisory_unlock_all()"])


def listen(dice: random.Random, twins: Twins) -> str:
    return dice.choice(["listen news", f"listen own{twins.number}", "unlisten news", "unlisten *"])


def notify(dice: random.Random, twins: Twins) -> str:
    payload = f"{twins.number}.{twins.steps}"
    return dice.choice([f"notify news, '{payload}'", f"select pg_notify('own{dice.randrange(CLIENTS)}', '{payload}')"])


def prepared(dice: random.Random, twins: Twins) -> str:
    texts = ["prepare p as select 42", "prepare q (int) as select $1 + 1", "execute p", "execute q (1)", "deallocate p", "deallocate all"]
    return dice.choice([*texts, "prepare p as select set_config('my.var', 'prepared', false)", "deallocate prepare q"])


def sequence(dice: random.Random, twins: Twins) -> str:
    name = f"public.s{twins.number}"
    texts = [f"select nextval('{name}')", f"insert into public.t{twins.number} default values"]
    if twins.asks_for_sequences:
        texts += ["select lastval()", f"select currval('{name}')", "discard sequences"]
    return dice.choice(texts)


def seed(dice: random.Random, twins: Twins) -> str:
    return "select random()" if twins.is_seeded else "select setseed(0.5)"


def plain(dice: random.Random, twins: Twins) -> str:
    return dice.choice(["select 1", f"select count(*) from public.t{twins.number}", "select 1/0", "", "select 'a'; select 'b'"])


def discard(dice: random.Random, twins: Twins) -> str:
    return dice.choice(["discard all", "discard plans", "reset all", "discard sequences", "deallocate all", "close all; unlisten *; reset all"])


def procedure(dice: random.Random, twins: Twins) -> str:
    texts = [
        "do $$ begin create temp table if not exists tt (a int); end $$",
        "do $$ begin set work_mem = '2222kB'; end $$",
        f"do $$ begin perform pg_advisory_lock({twins.number}); end $$",
        "do $$ begin perform 1/0; end $$",
    ]
    return dice.choice(texts)


# Kind of step, weight, and whether it may keep a connection.
KINDS: list[tuple[Callable[[random.Random, Twins], str], int, bool]] = [
    (parameter, 30, False),
    (transaction, 14, True),
    (temporary, 6, True),
    (cursor, 5, True),
    (lock, 6, True),
    (listen, 4, True),
    (notify, 4, False),
    (prepared, 5, True),
    (sequence, 6, True),
    (seed, 1, True),
    (plain, 12, False),
    (discard, 6, False),
    (procedure, 3, True),
]


async def step(twins: Twins, kind: Callable[[random.Random, Twins], str]) -> None:
    sql = kind(twins.dice, twins)
    await twins.run(sql)
    twins.is_seeded |= kind is seed
    twins.has_written |= kind is not plain
    await twins.observe()
    await twins.look_what_holds()


async def let_go(twins: Twins) -> None:
    """What it holds is given up, by a statement or by leaving."""
    if twins.is_seeded or twins.dice.random() < 0.3:
        await twins.close()
        await twins.open()
        return
    if twins.direct.status != "I":
        await twins.run(twins.dice.choice(["commit", "rollback"]))
    await twins.run("discard all")
    twins.has_written = False
    await twins.observe()
    await twins.look_what_holds()


async def rounds(everybody: list[Twins], dice: random.Random) -> None:
    """Some of them take a step at once. No more may hold connections than leave one for the others."""
    while sum(twins.steps for twins in everybody) < STEPS:
        chosen = dice.sample(everybody, AT_ONCE)
        steps, notes = [], []
        for twins in chosen:
            kind, _, may_hold = dice.choices(KINDS, [weight for _, weight, _ in KINDS])[0]
            may_hold |= twins.asks_for_sequences
            holders = [one for one in everybody if one.holds]
            if may_hold and not twins.holds and len(holders) >= CONNECTIONS - 1:
                kind = plain
            twins.holds |= may_hold and kind is not plain
            # One after the other, or it would be a race who listens already.
            (notes if kind is notify else steps).append(step(twins, kind))
        await asyncio.gather(*steps)
        for note in notes:
            await note
        await asyncio.gather(*(twins.hear() for twins in everybody))
        holders = [one for one in everybody if one.holds]
        if len(holders) >= CONNECTIONS - 1 and dice.random() < 0.4:
            await let_go(dice.choice(holders))


@pytest.fixture
def server() -> Iterator[Postgres]:
    """With two databases of the same content, for the mesh and for the twins."""
    one = start(lambda: Postgres("leaks", database="shop", users={"app": "app-password"}, auth="trust").start())
    one.sql("create role other")
    one.sql("grant other to app")
    one.sql("create database twin")
    for database in ("shop", "twin"):
        one.sql("grant all on schema public to public", database=database)
        for n in range(CLIENTS):
            one.sql(f"create sequence s{n} start {1000 * n + 1}", database=database)
            one.sql(f"create table t{n} (id serial)", database=database)
        one.sql("grant all on all tables in schema public to public", database=database)
        one.sql("grant all on all sequences in schema public to public", database=database)
    yield one
    one.kill()


async def is_clean(mesh: Mesh) -> None:
    """All connections of the pool at once, after everybody has left."""
    look = (
        "select (select count(*) from pg_settings where source = 'session' and name not like 'transaction_%'), (select count(*) from pg_cursors),"
        " (select count(*) from pg_prepared_statements where from_sql), (select count(*) from pg_listening_channels()),"
        " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
        " (select count(*) from pg_depend where refclassid = 2615 and refobjid = pg_my_temp_schema()), current_user"
    )
    clients = [await Connection.open(mesh.port, user="app", database="shop") for _ in range(CONNECTIONS)]
    for client in clients:
        await client.query("begin")
    for client in clients:
        assert (await client.query(look)).rows == [("0", "0", "0", "0", "0", "0", "app")]
        await client.close()


def test_no_session_state_leaks(mesh: Callable[..., Mesh], server: Postgres) -> None:
    one = mesh([server], size=CONNECTIONS, pool=", waitTimeout: 30s")

    async def main() -> None:
        dice = random.Random(SEED)
        everybody = [Twins(n, random.Random(SEED + n), one.port, server.port, asks_for_sequences=n % 10 == 0) for n in range(CLIENTS)]
        try:
            for twins in everybody:
                await twins.open()
            await rounds(everybody, dice)
            connections = await server.fetch("select count(*) as n from pg_stat_activity where datname = 'shop'")
            assert connections[0]["n"] <= CONNECTIONS + 1  # the one that asks
        except BaseException:
            print(f"LEAK_SEED={SEED} LEAK_STEPS={STEPS}, after {sum(twins.steps for twins in everybody)} steps", file=sys.stderr)
            for row in await server.fetch("select pid, state, left(query, 60) from pg_stat_activity where datname = 'shop'"):
                print("connection:", *row, file=sys.stderr)
            print("held by:", [(twins.number, twins.past[-1]) for twins in everybody if twins.holds], file=sys.stderr)
            raise
        steps, forgotten = sum(twins.steps for twins in everybody), sum(twins.forgotten for twins in everybody)
        print(f"{steps} steps, seed {SEED}: no leak; {forgotten} sequence values refused", file=sys.stderr)
        await asyncio.gather(*(twins.close() for twins in everybody))
        await is_clean(one)

    asyncio.run(main())
