"""PostgreSQL in the lab: real logins by every method, and what the verbs do to clients."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
import pytest

from mesh_core.lab import Missing, Postgres
from tests.conftest import start


def test_shards_are_separate_servers(postgres_shards: list[Postgres]) -> None:
    for server in postgres_shards:
        server.sql("create table if not exists who (port int)", user="app")
        server.sql("insert into who values ($1)", server.port, user="app")
    assert [server.sql("select port from who")[0]["port"] for server in postgres_shards] == [server.port for server in postgres_shards]


def test_prepared_transactions_are_on(postgres_shards: list[Postgres]) -> None:
    async def prepare_and_commit() -> int:
        connection = await postgres_shards[0].connect()
        await connection.execute("create table gids (n int)")
        await connection.execute("begin; insert into gids values (7); prepare transaction 'g1'")
        await connection.execute("commit prepared 'g1'")
        return await connection.fetchval("select n from gids")

    assert asyncio.run(prepare_and_commit()) == 7


@pytest.mark.parametrize("auth", ["scram-sha-256", "md5"])
def test_a_wrong_password_is_refused(auth: str) -> None:
    server = start(lambda: Postgres("auth", auth=auth, users={"app": "right"}).start())
    stored = server.sql("select rolpassword from pg_authid where rolname = 'app'")[0]["rolpassword"]
    assert stored.lower().startswith(auth[:3])
    assert server.sql("select current_user::text as me", user="app")[0]["me"] == "app"
    server.users["app"] = "wrong"
    with pytest.raises(asyncpg.InvalidPasswordError):
        server.sql("select 1", user="app")
    server.kill()


def test_trust_asks_for_no_password() -> None:
    server = start(lambda: Postgres("trust", auth="trust", users={"app": "unused"}).start())
    server.users["app"] = "anything"
    assert server.sql("select 1 as one", user="app")[0]["one"] == 1
    server.kill()


def test_tls_with_a_certificate_that_verifies() -> None:
    server = start(lambda: Postgres("tls", tls=True).start())
    assert server.authority is not None
    trusting = ssl.create_default_context(cafile=str(server.authority.certificate))

    async def encrypted() -> bool:
        connection = await asyncpg.connect(**{**server.params(), "ssl": trusting})
        return await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")

    assert asyncio.run(encrypted()) is True
    server.kill()


def test_kill_ends_sessions_and_data_survive() -> None:
    server = start(lambda: Postgres("killed").start())

    async def killed_under_a_query() -> None:
        connection = await server.connect()
        await connection.execute("create table kept as select 1 as n; checkpoint")
        sleeping = asyncio.create_task(connection.execute("select pg_sleep(60)"))
        while not await server.fetch("select 1 from pg_stat_activity where query = 'select pg_sleep(60)'"):
            pass
        await asyncio.to_thread(server.kill)
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            await sleeping

    asyncio.run(killed_under_a_query())
    server.start()
    assert server.sql("select n from kept")[0]["n"] == 1
    assert server.log_contains("database system was not properly shut down")
    server.kill()


def test_restart_is_orderly() -> None:
    server = start(lambda: Postgres("restarted").start())
    server.restart()
    assert server.log_contains("received fast shutdown request")
    assert not server.log_contains("database system was not properly shut down")
    server.kill()


def test_tls_without_a_server_that_has_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from mesh_core.lab import postgres_binaries

    postgres_binaries._found.cache_clear()
    monkeypatch.setattr(postgres_binaries, "debian", lambda: None)
    with pytest.raises(Missing, match="postgresql-15"):
        Postgres("none", tls=True).start()
