"""Replication connections pass through: PostgreSQL's own programs, against a real server, by way of the mesh."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_core.lab import Postgres, postgres_binaries, wait
from tests.conftest import start
from tests.integration.postgres.conftest import Mesh

psycopg = pytest.importorskip("psycopg")

DEADLINE_S = 60
ROWS = 20_000


@pytest.fixture
def server() -> Iterator[Postgres]:
    running = start(lambda: Postgres("replicated", database="shop", users={"app": "app-password"}).start())
    running.sql("alter role app replication")
    yield running
    running.kill()


@pytest.fixture
def mesh_of_one(mesh: Callable[..., Mesh], server: Postgres) -> Mesh:
    return mesh([server], size=1)


def program(name: str, mesh: Mesh, *arguments: str | Path) -> list[str]:
    words = ["-h", "127.0.0.1", "-p", str(mesh.port), "-U", "app", "--no-password", *map(str, arguments)]
    return [str(postgres_binaries.find(distribution=False) / name), *words]


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, env={**os.environ, "PGSSLMODE": "disable"})
    assert done.returncode == 0, done.stderr


def test_a_base_backup_with_its_wal(mesh_of_one: Mesh, server: Postgres, tmp_path: Path) -> None:
    server.sql(f"create table numbers as select generate_series(1, {ROWS}) as n")
    backup = tmp_path / "backup"
    run(program("pg_basebackup", mesh_of_one, "-D", backup, "-X", "stream", "--checkpoint=fast", "--no-sync"))
    run([str(postgres_binaries.find(distribution=False) / "pg_verifybackup"), str(backup)])


def test_received_wal(mesh_of_one: Mesh, server: Postgres, tmp_path: Path) -> None:
    """pg_receivewal: CopyBoth, its own status messages going up while WAL comes down."""
    run(program("pg_receivewal", mesh_of_one, "--slot=wal", "--create-slot"))
    server.sql("create table before as select 1 as one")
    end = server.sql("select pg_current_wal_lsn()::text as lsn")[0]["lsn"]
    run(program("pg_receivewal", mesh_of_one, "--slot=wal", "-D", tmp_path, f"--endpos={end}", "--no-loop", "--no-sync"))
    assert list(tmp_path.glob("0000*"))


def test_logical_decoding(mesh_of_one: Mesh, server: Postgres, tmp_path: Path) -> None:
    server.sql("create table orders (id int primary key, note text)")
    arguments = ["-d", "shop", "--slot=orders"]
    run(program("pg_recvlogical", mesh_of_one, *arguments, "--create-slot", "--plugin=test_decoding"))
    server.sql(f"insert into orders select n, repeat('x', 200) from generate_series(1, {ROWS}) n")
    end = server.sql("select pg_current_wal_lsn()::text as lsn")[0]["lsn"]
    changes = tmp_path / "changes"
    run(program("pg_recvlogical", mesh_of_one, *arguments, "--start", "-f", changes, f"--endpos={end}", "--no-loop"))
    assert changes.read_text().count("table public.orders: INSERT") == ROWS


def test_a_subscription_through_the_mesh(mesh_of_one: Mesh, server: Postgres) -> None:
    """Built-in logical replication (pgoutput): the subscriber's walreceiver is an ordinary client of the mesh."""
    subscriber = start(lambda: Postgres("subscriber", database="shop").start())
    try:
        for one in (server, subscriber):
            one.sql("create table items (id int primary key)")
        server.sql("insert into items select generate_series(1, 1000)")
        server.sql("grant select on items to app")
        server.sql("create publication everything for table items")
        words = f"host=127.0.0.1 port={mesh_of_one.port} user=app dbname=shop sslmode=disable"

        async def subscribe(connection: Any) -> None:
            await connection.execute(f"create subscription all_items connection '{words}' publication everything with (password_required = false)")

        wait.blocking(_with(subscriber, subscribe))
        server.sql("insert into items select generate_series(1001, 2000)")

        def arrived() -> None:
            assert subscriber.sql("select count(*) from items")[0]["count"] == 2000

        wait.until("the rows to arrive", arrived)
    finally:
        subscriber.kill()


async def _with(server: Postgres, work: Callable[[Any], Any]) -> None:
    connection = await server.connect()
    try:
        await work(connection)
    finally:
        await connection.close()


def test_beside_the_pool(mesh_of_one: Mesh) -> None:
    """The pool's only connection is free for others while a replication connection is open; a cancel finds its statement."""
    words = {"host": "127.0.0.1", "port": mesh_of_one.port, "user": "app", "dbname": "shop", "sslmode": "disable", "autocommit": True}
    with psycopg.connect(replication="database", **words) as walsender, psycopg.connect(**words) as ordinary:
        system = walsender.pgconn.exec_(b"IDENTIFY_SYSTEM")
        assert system.get_value(0, 3) == b"shop"
        assert ordinary.execute("select 1").fetchone() == (1,)
        assert walsender.pgconn.exec_(b"SELECT 2").get_value(0, 0) == b"2"


def test_a_role_that_may_not(mesh_of_one: Mesh, server: Postgres) -> None:
    server.sql("alter role app noreplication")
    with pytest.raises(psycopg.OperationalError, match=r"(?i)replication"):
        psycopg.connect(f"host=127.0.0.1 port={mesh_of_one.port} user=app dbname=shop sslmode=disable replication=true")


def test_not_beside_policies_or_shards(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> None:
    policy = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: reads}
spec: {listeners: [shop], rules: [{allow: [read], resources: ["*"]}]}
"""
    one = mesh(postgres_shards[:1], more=policy)
    with pytest.raises(psycopg.OperationalError, match="policies"):
        psycopg.connect(f"host=127.0.0.1 port={one.port} user=app dbname=shop sslmode=disable replication=database")
