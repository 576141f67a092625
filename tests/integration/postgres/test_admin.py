"""The admin database: what a sidecar says of itself to clients of its own protocol."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports, postgres_binaries, until_true
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.process import Sidecar

WORKERS = 3
ADMINS = ", admins: [boss]"


@pytest.fixture
def one(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres]) -> Mesh:
    """A sidecar of several workers, so that every answer has to come from all of them."""
    port = ports.free()
    running = sidecar(objects(postgres_shards[:1], port, listener=ADMINS), env=ENVIRONMENT, workers=WORKERS)
    return Mesh(running, port, postgres_shards)


async def admin(one: Mesh) -> asyncpg.Connection:
    return await one.connect(user="boss", database="midstream")


async def clients(one: Mesh, count: int) -> list[asyncpg.Connection]:
    return [await one.connect() for _ in range(count)]


async def close(*connections: asyncpg.Connection) -> None:
    for connection in connections:
        await connection.close()


def test_pools_clients_and_servers_of_all_workers(one: Mesh) -> None:
    async def main() -> None:
        boss, users = await admin(one), await clients(one, 9)
        transactions = [user.transaction() for user in users[:3]]
        for user, transaction in zip(users, transactions, strict=False):
            await transaction.start()
            await user.fetch("select 1")
        pools = await boss.fetch("show pools")
        assert [(row["database"], row["user"], row["shard"], row["pool_mode"]) for row in pools] == [("shop", "*", "s0", "transaction")]
        assert (pools[0]["cl_active"], pools[0]["cl_waiting"], pools[0]["sv_active"]) == (9, 0, 3)
        rows = await boss.fetch("show clients")
        assert len({row["id"] for row in rows}) == 10
        assert len({row["id"].partition("-")[0] for row in rows}) == WORKERS, "clients are spread over the workers"
        assert sorted(row["state"] for row in rows) == ["active"] * 3 + ["idle"] * 7
        servers = await boss.fetch("show servers")
        links = {row["link"] for row in servers if row["state"] == "active"}
        assert links == {row["id"] for row in rows if row["state"] == "active"}
        assert {row["remote_pid"] for row in servers if row["link"]} == {await user.fetchval("select pg_backend_pid()") for user in users[:3]}
        for transaction in transactions:
            await transaction.rollback()
        await close(boss, *users)

    asyncio.run(main())


def test_who_waits_is_seen_to_wait(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres]) -> None:
    port = ports.free()
    full = Mesh(sidecar(objects(postgres_shards[:1], port, size=1, listener=ADMINS), env=ENVIRONMENT), port, postgres_shards)

    async def main() -> None:
        boss, (holder, waiter) = await admin(full), await clients(full, 2)
        async with holder.transaction():
            await holder.fetch("select 1")
            waits = asyncio.create_task(waiter.fetchval("select 2"))
            while (await boss.fetch("show pools"))[0]["cl_waiting"] == 0:
                continue
            waiting = [row for row in await boss.fetch("show clients") if row["state"] == "waiting"]
            assert len(waiting) == 1 and waiting[0]["wait_us"] + waiting[0]["wait"] > 0
            assert (await boss.fetch("show pools"))[0]["maxwait_us"] > 0
        assert await waits == 2
        stats = await boss.fetchrow("show stats")
        assert (stats["database"], stats["total_wait_time"] > 0) == ("shop", True)
        await close(boss, holder, waiter)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_counts_and_settings(one: Mesh) -> None:
    async def main() -> None:
        users = await clients(one, 6)
        for user in users:
            await user.fetch("select 1")
            await user.execute("select 2")
        boss = await admin(one)
        stats = await boss.fetchrow("show stats")
        assert stats["total_query_count"] >= 12 and stats["total_server_assignment_count"] >= 12
        assert stats["total_query_time"] > 0
        assert stats["total_xact_count"] >= 12 and stats["total_xact_time"] > 0
        assert min(stats["total_received"], stats["total_sent"]) > 12 * len("select 1")
        assert stats["avg_query_time"] > 0 and stats["avg_period"] > 0
        databases = await boss.fetchrow("show databases")
        assert (databases["name"], databases["pool_size"], databases["force_user"], databases["port"]) == ("shop", 4, "app", one.servers[0].port)
        assert databases["current_client_connections"] == 6
        lists = dict(map(tuple, await boss.fetch("show lists")))
        assert (lists["databases"], lists["workers"], lists["used_clients"]) == (1, WORKERS, 7)
        config = {row["key"]: row["value"] for row in await boss.fetch("show config")}
        assert (config["databases.shop.pool.size"], config["listeners.shop.admins"]) == ("4", "boss")
        assert (await boss.fetchval("show version")).startswith("Midstream ")
        assert len(await boss.fetch("show help")) > 8
        await close(boss, *users)

    asyncio.run(main())


def test_a_transaction_counts_once_and_long_answers_count_whole(one: Mesh) -> None:
    async def main() -> None:
        boss, (user,) = await admin(one), await clients(one, 1)
        await user.execute("select 1")
        before = await boss.fetchrow("show stats")
        async with user.transaction():
            assert len(await user.fetchval("select repeat('x', 3000000)")) == 3_000_000
            await user.execute("select 2")
        after = await boss.fetchrow("show stats")
        assert after["total_xact_count"] == before["total_xact_count"] + 1
        assert after["total_query_count"] >= before["total_query_count"] + 4
        assert 3_000_000 < after["total_sent"] - before["total_sent"] < 3_100_000
        await close(boss, user)

    asyncio.run(main())


def test_reconnect_replaces_the_connections_of_all_workers(one: Mesh) -> None:
    async def main() -> None:
        boss, users = await admin(one), await clients(one, 6)
        before = {await user.fetchval("select pg_backend_pid()") for user in users}
        async with users[0].transaction():
            mine = await users[0].fetchval("select pg_backend_pid()")
            assert await boss.execute("reconnect shop") == "RECONNECT"
            assert await users[0].fetchval("select pg_backend_pid()") == mine, "not in the middle of a transaction"
        after = {await user.fetchval("select pg_backend_pid()") for user in users}
        assert not before & after
        await close(boss, *users)

    asyncio.run(main())


def backends(one: Mesh) -> int:
    """Connections of the sidecar, as the server sees them."""
    return one.servers[0].sql("select count(*) as n from pg_stat_activity where usename = 'app'")[0]["n"]


async def paused(boss: asyncpg.Connection) -> None:
    """Until all workers say so."""
    while (await boss.fetchrow("show databases"))["paused"] != 1:
        continue


def test_pause_ends_with_the_last_transaction_and_nobody_notices(one: Mesh) -> None:
    async def main() -> None:
        boss, other, users = await admin(one), await admin(one), await clients(one, 6)
        assert [await user.fetchval("select 1") for user in users] == [1] * 6
        transaction = users[0].transaction()
        await transaction.start()
        await users[0].fetch("select 1")
        pausing = asyncio.create_task(boss.execute("pause shop"))
        await paused(other)
        waiting = [asyncio.create_task(user.fetchval("select 2")) for user in users[1:]]
        late = asyncio.create_task(one.connect())
        while (await other.fetchrow("show pools"))["cl_waiting"] < len(waiting):
            continue
        assert not pausing.done()
        assert await users[0].fetchval("select 3") == 3, "a transaction goes on"
        await transaction.commit()
        assert await pausing == "PAUSE"
        await asyncio.to_thread(until_true, "all connections are closed", lambda: backends(one) == 0)
        assert not any(task.done() for task in waiting)
        assert await other.execute("resume") == "RESUME"
        assert await asyncio.gather(*waiting) == [2] * 5
        assert (await other.fetchrow("show databases"))["paused"] == 0
        await close(boss, other, await late, *users)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_pause_that_is_taken_back_ends(one: Mesh) -> None:
    async def main() -> None:
        boss, other, (user,) = await admin(one), await admin(one), await clients(one, 1)
        async with user.transaction():
            await user.fetch("select 1")
            pausing = asyncio.create_task(boss.execute("pause"))
            await paused(other)
            assert await other.execute("resume shop") == "RESUME"
            assert await pausing == "PAUSE"
        await close(boss, other, user)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_kill_ends_clients_and_keeps_new_ones_waiting(one: Mesh) -> None:
    async def main() -> None:
        boss, users = await admin(one), await clients(one, 6)
        ended = [asyncio.Event() for _ in users]
        for user, event in zip(users, ended, strict=True):
            await user.fetch("select 1")
            user.add_termination_listener(lambda _, event=event: event.set())
        await users[0].execute("begin")
        assert await boss.execute("kill shop") == "KILL"
        for event in ended:
            await event.wait()
        user = await one.connect()
        late = asyncio.create_task(user.fetchval("select 1"))
        while (await boss.fetchrow("show pools"))["cl_waiting"] == 0:
            continue
        await asyncio.to_thread(until_true, "all connections are closed", lambda: backends(one) == 0)
        assert not late.done()
        assert await boss.execute("resume shop") == "RESUME"
        assert await late == 1
        await close(boss, user)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_wait_close_ends_when_what_was_to_be_reconnected_is_closed(one: Mesh) -> None:
    async def main() -> None:
        boss, (user, other) = await admin(one), await clients(one, 2)
        assert await boss.execute("wait_close") == "WAIT_CLOSE"
        async with user.transaction():
            await user.fetch("select 1")
            await boss.execute("reconnect shop")
            waiting = asyncio.create_task(boss.execute("wait_close shop"))
            assert await other.fetchval("select 1") == 1, "nobody waits"
            assert not waiting.done()
        assert await waiting == "WAIT_CLOSE"
        await close(boss, user, other)

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("order", ["pause", "resume", "kill", "reconnect", "wait_close"])
def test_orders_about_what_is_not_there(one: Mesh, order: str) -> None:
    async def main() -> None:
        boss = await admin(one)
        with pytest.raises(asyncpg.InvalidCatalogNameError, match="there is no Database nosuch"):
            await boss.execute(f"{order} nosuch")
        await boss.close()

    asyncio.run(main())


def test_admins_only(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> None:
    users = "users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}, {name: bob, passwordFrom: {env: ANN_PASSWORD}}]"
    guarded = mesh(postgres_shards[:1], listener=f", auth: scram, {users}, admins: [ann], adminDatabase: pooler")

    async def version(connection: asyncpg.Connection) -> str:
        return await connection.fetchval("show version")

    assert guarded.run(version, user="ann", password="ann-secret", database="pooler").startswith("Midstream ")
    with pytest.raises(asyncpg.InvalidPasswordError):
        guarded.run(version, user="ann", password="wrong", database="pooler")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match='user "bob" may not see the admin database'):
        guarded.run(version, user="bob", password="ann-secret", database="pooler")
    with pytest.raises(asyncpg.InvalidPasswordError):
        guarded.run(version, user="bob", password="wrong", database="pooler")


def test_an_admin_that_is_none_any_more_is_told(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres]) -> None:
    port = ports.free()
    running = sidecar(objects(postgres_shards[:1], port, listener=ADMINS), env=ENVIRONMENT)
    one = Mesh(running, port, postgres_shards)

    async def main() -> None:
        boss = await admin(one)
        is_ended = asyncio.Event()
        boss.add_termination_listener(lambda _: is_ended.set())
        running.reload(objects(postgres_shards[:1], port, listener=", admins: [other]"))
        await asyncio.wait_for(is_ended.wait(), 30)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin(one)

    asyncio.run(main())


def test_psql_and_its_simple_protocol(one: Mesh) -> None:
    def psql(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        address = ["-h", "127.0.0.1", "-p", str(one.port), "-U", "boss", "-d", "midstream", "-X", "-A", "-t"]
        found: Path = postgres_binaries.find(distribution=False) / "psql"
        return subprocess.run([str(found), *address, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment})

    one.run(lambda connection: connection.fetchval("select 1"))
    shown = psql("-c", "SHOW POOLS;", "-c", "SHOW VERSION")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("shop|*|s0|"), shown.stdout
    refused = psql("-c", "SUSPEND")
    assert (refused.returncode, "SUSPEND is not supported" in refused.stderr) == (1, True), refused.stderr
