"""The protocol beyond 3.0 and a password: longer cancel keys, TLS from the first byte, channel binding. The client is libpq."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mesh_core.lab import Postgres, wait
from tests.conftest import start
from tests.integration.postgres.conftest import Mesh

if TYPE_CHECKING:
    from mesh_core.lab.certs import Authority

psycopg = pytest.importorskip("psycopg")

ANN = ", users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}]"
SECRET = "ann-secret"


def authority_in(folder: Path) -> Authority:
    from mesh_core.lab.certs import Authority  # wants `cryptography`, which only TLS needs

    return Authority(folder)


def connect(mesh: Mesh, **options: Any) -> Any:
    words = {"host": "127.0.0.1", "port": mesh.port, "user": "ann", "dbname": "shop", "sslmode": "disable", "autocommit": True}
    return psycopg.connect(**{**words, **options})


@pytest.mark.parametrize("version", ["3.0", "3.2"])
def test_a_cancel_in_either_version(one: Mesh, version: str) -> None:
    with connect(one, min_protocol_version=version, max_protocol_version=version, user="app") as connection:
        assert psycopg.pq.version() >= 180000
        for cancel in (connection.cancel, connection.cancel_safe):
            cancelled(connection, one.servers[0], cancel)
        assert connection.execute("select 1").fetchone() == (1,)


def cancelled(connection: Any, server: Postgres, cancel: Callable[[], None]) -> None:
    """Cancels a statement of the connection as soon as the server runs it."""

    def runs() -> None:
        assert server.sql("select from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'")

    def watch() -> None:
        wait.until("the statement to run", runs)
        cancel()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("select pg_sleep(60)")
    watcher.join()


def startup(minor: int, **parameters: str) -> bytes:
    body = struct.pack("!HH", 3, minor) + b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def messages(port: int, first: bytes) -> list[tuple[bytes, bytes]]:
    """What the greeting consists of, up to ReadyForQuery."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(first)
        stream = client.makefile("rb")
        found = []
        while not found or found[-1][0] not in (b"Z", b"E"):
            tag, length = struct.unpack("!cI", stream.read(5))
            found.append((tag, stream.read(length - 4)))
        return found


@pytest.mark.parametrize(
    ("minor", "agreed", "key"),
    [(0, None, 4), (1, None, 4), (2, None, 32), (3, 2, 32), (9999, 2, 32)],
)
def test_a_version_is_agreed_on(one: Mesh, minor: int, agreed: int | None, key: int) -> None:
    greased = {"_pq_.test_protocol_negotiation": ""} if minor == 9999 else {}
    found = dict(messages(one.port, startup(minor, user="app", database="shop", **greased)))
    assert len(found[b"K"]) == 4 + key
    if agreed is None:
        assert b"v" not in found
    else:
        names = b"".join(name.encode() + b"\0" for name in greased)
        assert found[b"v"] == struct.pack("!HHI", 3, agreed, len(greased)) + names


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return start(lambda: authority_in(tmp_path))


def tls(authority: Authority, mode: str = "required", more: str = "") -> str:
    pair = authority.issue("localhost")
    return f"tls: {{mode: {mode}, certFrom: {{file: {pair.certificate}}}, keyFrom: {{file: {pair.key}}}{more}}}"


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_tls_and_channel_binding(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], authority: Authority, negotiation: str) -> None:
    one = mesh(postgres_shards[:1], listener=f", auth: scram{ANN}, {tls(authority)}")
    words = {
        "host": "localhost",
        "sslmode": "verify-full",
        "sslrootcert": str(authority.certificate),
        "sslnegotiation": negotiation,
        "password": SECRET,
    }
    for binding in ("require", "disable"):
        with connect(one, channel_binding=binding, **words) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
            cancelled(connection, postgres_shards[0], connection.cancel_safe)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(one, **{**words, "password": "wrong"})


def test_tls_from_the_first_byte_needs_its_name(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], authority: Authority) -> None:
    import ssl

    one = mesh(postgres_shards[:1], listener=f", {tls(authority)}")
    trusted = ssl.create_default_context(cafile=authority.certificate)
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as plain:
        client = trusted.wrap_socket(plain, server_hostname="localhost")
        client.sendall(startup(0, user="ann", database="shop"))
        answer = client.recv(4096)
        assert b"08P01" in answer and b"ALPN" in answer
    trusted.set_alpn_protocols(["http/1.1"])
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as plain, pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        trusted.wrap_socket(plain, server_hostname="localhost")


def test_direct_tls_to_a_listener_without_it(one: Mesh) -> None:
    with pytest.raises(psycopg.OperationalError):
        connect(one, sslmode="require", sslnegotiation="direct")


def test_certificate(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], authority: Authority) -> None:
    client = authority.issue("ann")
    files = tls(authority, more=f", clientCaFrom: {{file: {authority.certificate}}}")
    one = mesh(postgres_shards[:1], listener=f", auth: cert, {files}")
    words = {"sslmode": "require", "sslcert": str(client.certificate), "sslkey": str(client.key), "sslnegotiation": "direct"}
    with connect(one, **words) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        connect(one, **{**words, "user": "bob"})


@pytest.mark.parametrize("negotiation", ["request", "direct"])
def test_one_mesh_before_another(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], authority: Authority, negotiation: str) -> None:
    """The one in front is a client with TLS as the one behind it demands, and binds its login to that one's certificate."""
    behind = mesh(postgres_shards[:1], listener=f", auth: scram, users: [{{name: app, passwordFrom: {{env: SHOP_PASSWORD}}}}], {tls(authority)}")

    class Behind:
        port = behind.port

    upstream = f"  tls: {{mode: verify-full, caFrom: {{file: {authority.certificate}}}, negotiation: {negotiation}}}"
    front = mesh([Behind()], database=upstream)  # type: ignore[list-item]
    with connect(front, user="app") as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        cancelled(connection, postgres_shards[0], connection.cancel_safe)
