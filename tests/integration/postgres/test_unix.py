"""Clients by way of a socket in the file system. The client is libpq, which finds it by its directory and port."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh_core.lab import Postgres, account, ports, wait
from tests.integration.postgres.conftest import ENVIRONMENT, objects
from tests.integration.process import Sidecar

psycopg = pytest.importorskip("psycopg")

PORT = 5432


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a socket has 107 bytes at most."""
    yield account.scratch("u")


def config(server: Postgres, folder: Path, listener: str = "") -> str:
    text = objects([server], 1, listener=listener)
    return text.replace('"127.0.0.1:1"', f'"unix:{folder}/.s.PGSQL.{PORT}"')


def select(folder: Path, **words: str) -> int:
    given = {"host": str(folder), "port": PORT, "user": "ann", "dbname": "shop", **words}
    with psycopg.connect(**given, autocommit=True) as connection:
        return connection.execute("select 1").fetchone()[0]


def test_clients_mode_and_end(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres], folder: Path) -> None:
    running = sidecar(config(postgres_shards[0], folder), env=ENVIRONMENT)
    path = folder / f".s.PGSQL.{PORT}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert select(folder) == 1
    running.stop()
    assert not path.exists()


def test_a_password_and_another_mode(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres], folder: Path) -> None:
    listener = ', auth: scram, socketMode: "0600", users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}]'
    sidecar(config(postgres_shards[0], folder, listener), env=ENVIRONMENT)
    assert stat.S_IMODE((folder / f".s.PGSQL.{PORT}").stat().st_mode) == 0o600
    assert select(folder, password="ann-secret") == 1
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        select(folder, password="wrong")


def test_what_a_killed_sidecar_left_is_replaced(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres], folder: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / f".s.PGSQL.{PORT}"))
    dead.close()
    sidecar(config(postgres_shards[0], folder), env=ENVIRONMENT)
    assert select(folder) == 1


def test_a_listener_moves_between_port_and_path(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres], folder: Path) -> None:
    port = ports.free()
    running = sidecar(objects(postgres_shards[:1], port), env=ENVIRONMENT)
    with psycopg.connect(host="127.0.0.1", port=port, user="ann", dbname="shop", sslmode="disable", autocommit=True) as staying:
        running.reload(config(postgres_shards[0], folder))
        wait.until("the path to take clients", lambda: select(folder))
        assert staying.execute("select 2").fetchone() == (2,)
    running.reload(objects(postgres_shards[:1], port))

    def gone() -> None:
        assert not (folder / f".s.PGSQL.{PORT}").exists()

    wait.until("the socket to be removed", gone)
