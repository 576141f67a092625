"""Sequences of messages that nobody would think of, to the server itself and through the mesh: the same answers, byte by byte."""

from __future__ import annotations

import random
import re

import pytest

from .frontend import COPY_DONE, FLUSH, SYNC, Frontend, Step, bind, close, copy_data, describe, execute, message, parse, query
from .test_same import Heard, compared, server, through  # noqa: F401  (fixtures)

SCRIPTS = 60  # per test; the seed is in its name
LENGTH = 14  # messages of a script
NAMES = ("", "", "a", "b")
STATEMENTS = (
    "select 1",
    "select generate_series(1, 5)",
    "select $1::int + 1",
    "select 1 / 0",
    "selekt",
    "",
    "insert into random_table values (1)",
    "table random_table",
    "begin",
    "commit",
    "rollback",
    "savepoint s",
    "copy random_table from stdin",
    "copy random_table to stdout",
    "do $$ begin raise notice 'here'; end $$",
)
QUERIES = (*STATEMENTS, "select 1; select 2", "begin; select 1", "select 1; selekt", "select 1; select 1/0; select 3")
# A message that Midstream refuses by itself is sent to the server as another one that fails, which a COPY that is under way names instead.
WRONG_IN_A_COPY = re.compile(rb"(unexpected message type )0x..")
END = "the end of the script"
FIRST = Step(query("drop table if exists random_table; create table random_table (a int)"))
# Out of whatever state the script has left the session in.
LAST = message("f", b"over\0") + SYNC + query("rollback") + query(f"select '{END}'")


def script(dice: random.Random) -> list[bytes]:
    makers = (
        # A name that is taken is refused before the text is looked at: on the server it is the other way round.
        lambda: parse(dice.choice([one for one in STATEMENTS if one != "selekt"]), dice.choice(NAMES)),
        lambda: parse("selekt"),
        lambda: bind(name=dice.choice(NAMES), portal=dice.choice(NAMES)),
        lambda: bind(b"7", name=dice.choice(NAMES), portal=dice.choice(NAMES)),
        lambda: execute(dice.choice(NAMES), dice.choice((0, 0, 2))),
        lambda: parse(dice.choice(STATEMENTS)) + bind() + execute(),
        lambda: describe(dice.choice("SP"), dice.choice(NAMES)),
        lambda: close(dice.choice("SP"), dice.choice(NAMES)),
        lambda: SYNC,
        lambda: SYNC,
        lambda: FLUSH,
        lambda: query(dice.choice(QUERIES)),
        lambda: copy_data(b"7\n"),
        lambda: COPY_DONE,
    )
    return [dice.choice(makers)() for _ in range(LENGTH)]


class Ended(Exception):
    """The session was ended before all was sent, which takes what was not read yet with it."""


def play(frontend: Frontend, frames: list[bytes], dice: random.Random) -> Heard:
    """Sends them in pieces that end anywhere."""
    rest = b"".join(frames) + LAST
    while rest:
        size = dice.randint(1, 2 * len(rest))
        try:
            frontend.socket.sendall(rest[:size])
        except (BrokenPipeError, ConnectionResetError):
            raise Ended from None
        rest = rest[size:]
    heard: Heard = []
    while not any(tag == "D" and END.encode() in body for tag, body in heard[-3:]):
        heard += frontend.hear("Z")
        if heard[-1][0] == "EOF":
            break
    return [(tag, WRONG_IN_A_COPY.sub(rb"\1", body)) for tag, body in compared(heard)]


@pytest.mark.parametrize("seed", range(10))
def test_anything_sounds_the_same(server, through, seed: int) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    dice = random.Random(seed)
    for number in range(SCRIPTS):
        frames = script(dice)
        heard: list[Heard] = []
        for port in (server.port, through):
            frontend = Frontend(port, user="app", database="shop")
            frontend.play([FIRST])
            try:
                heard.append(play(frontend, frames, random.Random(number)))
            except Ended:
                heard.append([("EOF", b"")])
            frontend.close()
        if [("EOF", b"")] in heard:
            assert [one[-1][0] for one in heard] == ["EOF", "EOF"], f"seed {seed}, script {number}: {frames}"
            continue
        assert heard[1] == heard[0], f"seed {seed}, script {number}: {frames}"
