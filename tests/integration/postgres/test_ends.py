"""A client that goes in the middle of something leaves nothing behind on the server; and who it was to others."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import until_true

from .conftest import Mesh
from .frontend import TERMINATE, Frontend, bind, execute, parse, query

IN_THE_MIDDLE = {
    "a copy": (query("begin; create table middle (a int); copy middle from stdin"), "G"),
    "a batch": (query("select 1") + parse("create table middle (a int)") + bind() + execute(), "Z"),
    "a transaction": (query("begin; create table middle (a int)"), "Z"),
}


@pytest.mark.parametrize("says_goodbye", [True, False])
@pytest.mark.parametrize("middle", IN_THE_MIDDLE)
def test_nobody_holds_a_lock_for_a_client_that_is_gone(one: Mesh, middle: str, says_goodbye: bool) -> None:
    frontend = Frontend(one.port, user="app", database="shop")
    begun, heard = IN_THE_MIDDLE[middle]
    frontend.socket.sendall(begun)
    frontend.hear(heard)
    if says_goodbye:
        frontend.socket.sendall(TERMINATE)
    frontend.close()
    busy = "select count(*) from pg_stat_activity where usename = 'app' and state <> 'idle'"
    until_true("the server is left alone", lambda: one.servers[0].sql(busy)[0][0] == 0)
    assert one.servers[0].sql("select to_regclass('middle')")[0][0] is None


async def test_a_notification_names_its_sender(one: Mesh) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    def listener(_connection: asyncpg.Connection, pid: int, _channel: str, _payload: Any) -> None:
        heard.put_nowait(pid)

    hearing, saying = await one.connect(), await one.connect()
    await hearing.add_listener("sender", listener)
    for connection in (saying, hearing):
        await connection.execute("notify sender")
        assert await asyncio.wait_for(heard.get(), 10) == connection.get_server_pid()
    await hearing.remove_listener("sender", listener)
    # One who is no client of the mesh is called by its true name.
    direct = await one.servers[0].connect()
    await hearing.add_listener("sender", listener)
    await direct.execute("notify sender")
    assert await asyncio.wait_for(heard.get(), 10) == direct.get_server_pid()
    for connection in (hearing, saying, direct):
        await connection.close()
