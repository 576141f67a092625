"""What a client may do on the wire; each scene is played on the server itself and through the mesh, and has to sound the same."""

from __future__ import annotations

import struct

from .frontend import COPY_DONE, FLUSH, SYNC, TERMINATE, Step, bind, call, close, copy_data, describe, execute, message, parse, query

INT4, TEXT = 23, 25
NOTICE = "do $$ begin raise notice 'heard' using detail = 'd', hint = 'h'; end $$"


def step(*frames: bytes, until: str = "Z", count: int = 1) -> Step:
    return Step(b"".join(frames), until, count)


def sql(*statements: str) -> list[Step]:
    return [step(query(one)) for one in statements]


def run(text: str, *values: bytes | None) -> bytes:
    """A whole statement by the extended protocol, without Sync."""
    return parse(text) + bind(*values) + describe("P") + execute()


SIMPLE = {
    "nothing": sql("", " ; ", "-- only a comment"),
    "several statements": sql("select 1; select 2; select 'x' where false"),
    "an error in the middle": sql("select 1; select 1/0; select 2", "select 3"),
    "two queries at once": [step(query("select 1"), query("select 2"), count=2)],
    "an error and the next at once": [step(query("select 1/0"), query("select 2"), query("select 3"), count=3)],
    "a transaction": sql("begin", "select 1", "savepoint a", "selekt", "select 1", "rollback to a", "select 2", "commit"),
    "a failed transaction": sql("begin", "select 1/0", "select 1", "commit", "select 2"),
    "an implicit transaction": sql("create table implicit (a int); insert into implicit values (1); select 1/0", "table implicit"),
    "begin in the middle": sql("select 1; begin; select 2", "select 3; commit; select 4", "select 5"),
    "warnings": sql("commit", "begin; begin", "rollback", NOTICE, "select 1"),
    "the fields of an error": sql(
        "create table fields (a int primary key check (a > 0), b text not null)",
        "insert into fields values (1, 'x')",
        "insert into fields values (1, 'y')",
        "insert into fields values (-1, 'y')",
        "insert into fields values (2)",
        "insert into fields values ('x', 'y')",
        "select a, nosuch from fields",
        "drop table fields",
    ),
    "settings are told": sql(
        "set application_name = 'scene'", "begin", "set local timezone = 'Asia/Tokyo'", "select 1", "commit", "reset application_name"
    ),
    "long rows": sql("select repeat('x', 100000), 1 from generate_series(1, 20)", "select 1"),
    "many rows": sql("select n, repeat('y', 50) from generate_series(1, 20000) n", "select 1"),
    "a query of 17 megabytes": sql("select length('" + "x" * 17_000_000 + "')", "select 1"),
    "two-phase commit": sql(
        "create table phases (a int)",
        "begin",
        "insert into phases values (1)",
        "prepare transaction 'scene'",
        "table phases",
        "commit prepared 'scene'",
        "table phases",
        "commit prepared 'scene'",
        "drop table phases",
    ),
    "cursors": sql(
        "begin",
        "declare c scroll cursor for select generate_series(1, 10)",
        "fetch 2 from c",
        "move 3 in c",
        "fetch backward 1 from c",
        "close c",
        "fetch 1 from c",
        "rollback",
    ),
    "a cursor beyond its transaction": sql(
        "begin", "declare h cursor with hold for select generate_series(1, 5)", "commit", "fetch 2 from h", "close h"
    ),
    "a notification to oneself": sql("listen scene", "notify scene, 'payload'", "unlisten scene"),
    "a cancelled statement": sql("set statement_timeout = 50", "select pg_sleep(10)", "select 1", "reset statement_timeout"),
    "cancelling oneself": sql("select pg_cancel_backend(pg_backend_pid())", "select 1"),
    "function call": [step(call(1318, b"hello")), step(call(1)), step(query("select 1"))],
    "a function call in a failed transaction": [*sql("begin", "select 1/0"), step(call(1318, b"hello")), *sql("rollback")],
}

COPY = {
    "out": sql("copy (select n, 'x' from generate_series(1, 3) n) to stdout", "copy (select 1) to stdout (format binary)", "select 1"),
    "out with an error": sql("copy (select 10 / (3 - n) from generate_series(1, 5) n) to stdout", "select 1"),
    "in": [
        *sql("create table copied (a int, b text)"),
        step(query("copy copied from stdin"), until="G"),
        step(copy_data(b"1\tone\n2\t"), copy_data(b"two\n"), COPY_DONE),
        *sql("table copied", "drop table copied"),
    ],
    "in, all at once": [
        *sql("create table copied (a int, b text)"),
        step(query("copy copied from stdin"), copy_data(b"1\tone\n"), COPY_DONE, query("table copied"), count=2),
        *sql("drop table copied"),
    ],
    "in with wrong data": [
        *sql("create table copied (a int)"),
        step(query("copy copied from stdin"), until="G"),
        step(copy_data(b"x\n"), copy_data(b"1\n"), COPY_DONE),
        *sql("select 1", "drop table copied"),
    ],
    "in, given up": [
        *sql("create table copied (a int)"),
        step(query("copy copied from stdin"), until="G"),
        step(copy_data(b"1\n"), message("f", b"no more\0")),
        *sql("table copied", "drop table copied"),
    ],
    "in, by the extended protocol": [
        *sql("create table copied (a int)"),
        step(parse("copy copied from stdin"), bind(), describe("P"), execute(), FLUSH, until="G"),
        step(copy_data(b"1\n"), COPY_DONE, SYNC),
        *sql("table copied", "drop table copied"),
    ],
    "in, by the extended protocol with a Sync at once": [
        *sql("create table copied (a int)"),
        step(parse("copy copied from stdin"), bind(), execute(), SYNC, until="G"),
        step(copy_data(b"1\n"), COPY_DONE, SYNC),
        *sql("table copied", "drop table copied"),
    ],
    "in, by the extended protocol with wrong data": [
        *sql("create table copied (a int)"),
        step(parse("copy copied from stdin"), bind(), execute(), FLUSH, until="G"),
        step(copy_data(b"x\n"), COPY_DONE, SYNC),
        *sql("table copied", "drop table copied"),
    ],
    "in, by the extended protocol, all at once": [
        *sql("create table copied (a int)"),
        step(parse("copy copied from stdin"), bind(), execute(), copy_data(b"1\n"), COPY_DONE, SYNC),
        step(parse("copy copied from stdin"), bind(), execute(), copy_data(b"x\n"), COPY_DONE, SYNC),
        *sql("table copied", "drop table copied"),
    ],
    "out, by the extended protocol": [step(run("copy (select 1) to stdout"), SYNC), *sql("select 1")],
    "data outside of a copy": [step(copy_data(b"1\n"), COPY_DONE, query("select 1"))],
    "data behind what is no copy": [step(query("select 1"), copy_data(b"1\n"), COPY_DONE, query("select 2"), count=2)],
    "data in a batch that is no copy": [step(run("select 1"), copy_data(b"1\n"), COPY_DONE, SYNC), *sql("select 2")],
    "a table that does not exist": [step(query("copy nosuch from stdin"), copy_data(b"1\n"), COPY_DONE), *sql("select 1")],
}

EXTENDED = {
    "a statement": [step(run("select $1::int + 1", b"41"), SYNC)],
    "nothing": [step(run(""), SYNC)],
    "no rows": [step(run("create table extended (a int)"), run("drop table extended"), SYNC)],
    "described": [step(parse("select $1::int as a, $2::text as b", "s"), describe("S", "s"), SYNC), step(close("S", "s"), SYNC)],
    "described before and after": [
        step(parse("select 1 as a", "s"), describe("S", "s"), bind(name="s"), describe("P"), execute(), SYNC),
        step(describe("S", "s"), SYNC),
        step(close("S", "s"), SYNC),
    ],
    "binary": [
        step(parse("select $1::int, $1::int + 1", "", INT4), bind(struct.pack("!i", 7), formats=(1,), results=(1, 0)), describe("P"), execute(), SYNC)
    ],
    "NULL": [step(run("select $1::text is null, $1::text", None), SYNC)],
    "only Flush": [
        step(parse("select 7", "f"), FLUSH, until="1"),
        step(describe("S", "f"), FLUSH, until="T"),
        step(bind(name="f"), FLUSH, until="2"),
        step(execute(), FLUSH, until="C"),
        step(close("S", "f"), FLUSH, until="3"),
        step(SYNC),
    ],
    "Sync alone": [step(SYNC), step(SYNC, SYNC, SYNC, count=3)],
    "Flush alone": [step(FLUSH, SYNC), *sql("select 1")],
    "rows by and by": [
        step(parse("select generate_series(1, 5)"), bind(), execute(rows=2), FLUSH, until="s"),
        step(execute(rows=2), FLUSH, until="s"),
        step(execute(rows=2), FLUSH, until="C"),
        step(execute(rows=2), SYNC),
    ],
    "a portal through a transaction": [
        *sql("begin"),
        step(parse("select generate_series(1, 5)"), bind(portal="p"), execute("p", 2), SYNC),
        *sql("select 'between'"),
        step(execute("p", 2), SYNC),
        step(describe("P", "p"), execute("p"), close("P", "p"), SYNC),
        step(execute("p"), SYNC),
        *sql("rollback"),
    ],
    "a portal does not outlive its transaction": [
        step(parse("select 1", "s"), bind(name="s", portal="p"), SYNC),
        step(execute("p"), SYNC),
        step(close("S", "s"), SYNC),
    ],
    "a portal twice": [step(parse("select 1"), bind(portal="p"), bind(portal="p"), SYNC), step(SYNC)],
    "several portals": [
        step(parse("select $1::int", "s"), bind(b"1", name="s", portal="a"), bind(b"2", name="s", portal="b"), execute("b"), execute("a"), SYNC),
        step(close("S", "s"), SYNC),
    ],
    "what does not exist": [
        step(bind(name="nosuch"), execute(), SYNC),
        step(describe("S", "nosuch"), SYNC),
        step(describe("P", "nosuch"), SYNC),
        step(execute("nosuch"), SYNC),
        step(close("S", "nosuch"), close("P", "nosuch"), SYNC),
        step(bind(), SYNC),
    ],
    "what does not exist, in a transaction": [*sql("begin"), step(bind(name="nosuch"), execute(), SYNC), *sql("select 1", "rollback")],
    "a name twice": [step(parse("select 1", "s"), parse("select 2", "s"), SYNC), step(bind(name="s"), execute(), SYNC), step(close("S", "s"), SYNC)],
    "a name again after an error": [
        step(parse("selekt", "s"), SYNC),
        step(parse("select 1", "s"), bind(name="s"), execute(), SYNC),
        step(close("S", "s"), SYNC),
    ],
    "a name again after it was closed": [
        step(parse("select 1", "s"), SYNC),
        step(close("S", "s"), parse("select 2", "s"), bind(name="s"), execute(), SYNC),
        step(close("S", "s"), SYNC),
    ],
    "an error undoes nothing before it": [
        step(parse("select 1", "a"), parse("selekt", "b"), parse("select 3", "c"), SYNC),
        step(bind(name="a"), execute(), SYNC),
        step(bind(name="c"), execute(), SYNC),
        step(close("S", "a"), SYNC),
    ],
    "an error between Syncs": [step(run("select 1/0"), SYNC, run("select 2"), SYNC, run("select 3"), SYNC, count=3)],
    "an error within a batch": [step(run("select 1"), run("select 1/0"), run("select 3"), SYNC), *sql("select 4")],
    "an error within a batch that wrote": [
        *sql("create table batch (a int)"),
        step(run("insert into batch values (1)"), run("select 1/0"), SYNC),
        *sql("table batch", "drop table batch"),
    ],
    "an error in a transaction": [
        step(run("begin"), run("select 1/0"), run("select 2"), SYNC),
        step(run("select 3"), SYNC),
        step(run("rollback"), SYNC),
        step(run("select 4"), SYNC),
    ],
    "a transaction in one batch": [step(run("begin"), run("select 1"), run("commit"), SYNC), *sql("select 2")],
    "several statements in a Parse": [step(parse("select 1; select 2"), SYNC), *sql("select 1")],
    "a Query forgets the unnamed statement": [step(parse("select 1"), SYNC), *sql("select 2"), step(bind(), execute(), SYNC)],
    "executed by SQL": [
        step(parse("select $1::int + 1", "x"), parse("select 'X'", "X y"), SYNC),
        step(run("execute x(41)"), SYNC),
        step(run('EXECUTE "X y"'), SYNC),
        step(run("execute nosuch"), SYNC),
        step(close("S", "x"), SYNC),
        step(run("execute x(41)"), SYNC),
        step(close("S", "X y"), SYNC),
    ],
    "deallocated by SQL": [
        step(parse("select 1", "d"), parse("select 2", "D e"), SYNC),
        *sql("deallocate d", 'DEALLOCATE PREPARE "D e"', "deallocate d", "deallocate nosuch"),
        step(bind(name="d"), SYNC),
        step(parse("select 3", "d"), bind(name="d"), execute(), SYNC),
        *sql("begin", "selekt", "deallocate d", "rollback", "deallocate all"),
        step(bind(name="d"), SYNC),
    ],
    "the unnamed statement again": [
        step(parse("select set_config('application_name', $1, false)"), bind(b"one"), execute(), SYNC),
        step(bind(b"two"), execute(), SYNC),
        *sql("reset application_name"),
    ],
    "a Query within a batch": [step(parse("select 1", "q"), bind(name="q"), query("select 2")), step(execute(), SYNC), step(close("S", "q"), SYNC)],
    "a Parse that fails forgets the unnamed statement": [step(parse("select 1"), SYNC), step(parse("selekt"), SYNC), step(bind(), execute(), SYNC)],
    "wrong parameters": [
        step(parse("select $1::int", "w"), SYNC),
        step(bind(name="w"), SYNC),
        step(bind(b"1", b"2", name="w"), SYNC),
        step(bind(b"x", name="w"), SYNC),
        step(bind(b"abc", name="w", formats=(1,)), SYNC),
        step(bind(b"1", name="w", formats=(0, 0)), SYNC),
        step(bind(b"1", name="w", results=(0, 0)), SYNC),
        step(bind(b"1", name="w", results=(9,)), execute(), SYNC),
        step(close("S", "w"), SYNC),
    ],
    "a parameter without a type": [step(parse("select $1", "n"), describe("S", "n"), SYNC), step(close("S", "n"), SYNC)],
    "a parameter whose type cannot be told": [step(parse("select $1 is null", "n"), describe("S", "n"), SYNC), step(close("S", "n"), SYNC)],
    "a notice": [step(run(NOTICE), SYNC), *sql("select 1")],
    "a long parameter": [step(parse("select length($1::text)"), bind(b"z" * 300_000), execute(), SYNC), *sql("select 1")],
    "a table that comes and goes": [
        *sql("create table comes (a int)"),
        step(parse("insert into comes values ($1) returning a", "i"), describe("S", "i"), SYNC),
        step(bind(b"1", name="i"), execute(), SYNC),
        step(close("S", "i"), SYNC),
        *sql("drop table comes", "create table comes (a text)"),
        step(parse("insert into comes values ($1) returning a", "i"), describe("S", "i"), SYNC),
        step(bind(b"x", name="i"), execute(), SYNC),
        step(close("S", "i"), SYNC),
        *sql("drop table comes"),
        step(parse("insert into comes values ($1) returning a", "i"), SYNC),
        step(close("S", "i"), SYNC),
    ],
}

ENDS = {
    "Terminate": [step(TERMINATE, until="EOF")],
    "Terminate behind a query": [step(query("select 1"), TERMINATE, until="EOF")],
    "Terminate in a batch": [step(run("select 1"), TERMINATE, until="EOF")],
    "Terminate in a batch behind a query": [step(query("select 1"), run("select 2"), TERMINATE, until="EOF")],
    "Terminate in a transaction": [*sql("begin"), step(TERMINATE, until="EOF")],
    "the server ends the session": sql("select pg_terminate_backend(pg_backend_pid())"),
    "the server ends the session in a transaction": sql("begin", "select pg_terminate_backend(pg_backend_pid())"),
    "idle in a transaction for too long": [*sql("begin", "set local idle_in_transaction_session_timeout = 50"), step(b"", until="EOF")],
    "idle for too long": [*sql("set idle_session_timeout = 50"), step(b"", until="EOF")],
    "an unknown message": [step(message("y"), until="EOF")],
}

SCENES = {
    f"{group}: {name}": steps
    for group, scenes in (("simple", SIMPLE), ("copy", COPY), ("extended", EXTENDED), ("ends", ENDS))
    for name, steps in scenes.items()
}
