"""What strangers can do, and what they can learn: raw sockets, wrong passwords, wrong certificates."""

from __future__ import annotations

import base64
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports, wait
from tests.conftest import start
from tests.integration.postgres.conftest import ENVIRONMENT, Mesh, objects
from tests.integration.process import Sidecar

Start = Callable[..., Mesh]
USERS = ", users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}]"
MAX_LOGINS = 1000


@dataclass
class Message:
    tag: bytes
    body: bytes

    @property
    def shape(self) -> tuple[bytes, int, bytes]:
        """All that may differ between two failed logins is not in it."""
        return self.tag, len(self.body), self.body[:4] if self.tag == b"R" else self.field(b"C")

    def field(self, kind: bytes) -> bytes:
        fields = self.body.split(b"\0")
        return next((field[1:] for field in fields if field[:1] == kind), b"")


class Raw:
    """A client that sends what it is told."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.file = client.makefile("rb")

    def start(self, user: bytes = b"ann", database: bytes = b"shop", *more: bytes) -> Raw:
        body = struct.pack(">I", 3 << 16) + b"".join(word + b"\0" for word in (b"user", user, b"database", database, *more)) + b"\0"
        return self.raw(struct.pack(">I", len(body) + 4) + body)

    def send(self, tag: bytes, body: bytes) -> Raw:
        return self.raw(tag + struct.pack(">I", len(body) + 4) + body)

    def raw(self, data: bytes) -> Raw:
        self.socket.sendall(data)
        return self

    def read(self) -> Message | None:
        """None at the end."""
        head = self.file.read(5)
        if len(head) < 5:
            return None
        return Message(head[:1], self.file.read(struct.unpack(">I", head[1:])[0] - 4))

    def error(self) -> Message:
        """The ErrorResponse that has to come, and then the end."""
        while (message := self.read()) is not None and message.tag != b"E":
            pass
        assert message is not None, "closed without a word"
        assert self.file.read() == b""
        return message


@contextmanager
def raw(one: Mesh) -> Iterator[Raw]:
    with socket.create_connection(("127.0.0.1", one.port), timeout=30) as client:
        yield Raw(client)


async def nothing(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("select 1")


def scram_challenge(client: Raw, user: bytes) -> list[Message]:
    """The server's messages up to the one with the salt."""
    first = client.start(user).read()
    bare = b"n=,r=abcdefghijklmnopqrstuvwx"
    client.send(b"p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(bare) + 3) + b"n,," + bare)
    challenge = client.read()
    assert first and challenge, user
    return [first, challenge]


def failed_scram(one: Mesh, user: bytes) -> list[Message]:
    """All that a client without the password gets to see."""
    with raw(one) as client:
        first, challenge = scram_challenge(client, user)
        nonce = challenge.body[4:].split(b",")[0]
        client.send(b"p", b"c=biws," + nonce + b",p=" + base64.b64encode(bytes(32)))
        return [first, challenge, client.error()]


def failed_md5(one: Mesh, user: bytes) -> list[Message]:
    with raw(one) as client:
        first = client.start(user).read()
        assert first, user
        client.send(b"p", b"md5" + b"0" * 32 + b"\0")
        return [first, client.error()]


@pytest.mark.parametrize(("method", "attempt"), [("scram", failed_scram), ("md5", failed_md5)])
def test_a_user_who_does_not_exist_looks_like_a_wrong_password(
    mesh: Start, postgres_shards: list[Postgres], method: str, attempt: Callable[[Mesh, bytes], list[Message]]
) -> None:
    one = mesh(postgres_shards[:1], listener=f", auth: {method}{USERS}")
    known, unknown = attempt(one, b"ann"), attempt(one, b"bob")
    assert [message.shape for message in known] == [message.shape for message in unknown]
    assert known[-1].field(b"C") == b"28P01"
    assert known[-1].body.replace(b"ann", b"bob") == unknown[-1].body


def test_the_salt_of_a_user_who_does_not_exist_is_one_on_all_workers(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres]) -> None:
    port = ports.free()
    settings = objects(postgres_shards[:1], port, listener=f", auth: scram{USERS}")
    one = Mesh(sidecar(settings, env=ENVIRONMENT, workers=3), port, postgres_shards)

    def salts(user: bytes) -> set[bytes]:
        with ExitStack() as stack:
            # Side by side, so that they are spread over the workers.
            clients = [stack.enter_context(raw(one)) for _ in range(9)]
            return {scram_challenge(client, user)[1].body[4:].split(b",")[1] for client in clients}

    ann, bob = salts(b"ann"), salts(b"bob")
    assert (len(ann), len(bob)) == (1, 1) and ann != bob


def test_the_databases_of_a_listener_are_told_to_nobody_without_a_password(mesh: Start, postgres_shards: list[Postgres]) -> None:
    one = mesh(postgres_shards[:1], listener=f", auth: scram, databases: [shop]{USERS}")
    with pytest.raises(asyncpg.InvalidPasswordError):
        one.run(nothing, user="ann", password="wrong", database="other")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        one.run(nothing, user="ann", password="ann-secret", database="other")


def test_no_server_is_connected_to_for_who_has_not_logged_in(mesh: Start, postgres_shards: list[Postgres]) -> None:
    server = postgres_shards[0]
    count = "select count(*) as n from pg_stat_activity where usename = 'app'"
    wait.until_true("nobody is connected", lambda: server.sql(count)[0]["n"] == 0)
    one = mesh([server], listener=f", auth: scram{USERS}")
    with raw(one) as client:
        client.start().send(b"Q", b"select 1\0")
        assert client.error().field(b"C") == b"08P01"
    failed_scram(one, b"ann")
    assert server.sql(count)[0]["n"] == 0
    assert one.sidecar.metric("midstream_pool_connections") == 0


TOO_MUCH = {
    "startup packet": lambda client: client.raw(struct.pack(">II", 10_001, 3 << 16)),
    "parameters": lambda client: client.start(b"ann", b"shop", *(b"a%d" % n for n in range(130))),
    "user name": lambda client: client.start(b"x" * 300),
    "password": lambda client: client.start().raw(b"p" + struct.pack(">I", 65_540)),
    "query before the password": lambda client: client.start().raw(b"Q" + struct.pack(">I", 1 << 29)),
    "no message": lambda client: client.start().raw(b"\0" * 5),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_who_sends_too_much_is_told_before_it_is_read(mesh: Start, postgres_shards: list[Postgres], what: str) -> None:
    one = mesh(postgres_shards[:1], listener=f", auth: scram{USERS}")
    with raw(one) as client:
        TOO_MUCH[what](client)
        assert client.error().field(b"C") == b"08P01"
    assert one.run(nothing, user="ann", password="ann-secret") == 1


def test_those_who_connect_and_say_nothing_give_way_to_those_who_log_in(mesh: Start, postgres_shards: list[Postgres]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    one = mesh(postgres_shards[:1], listener=f", auth: scram{USERS}")
    with ExitStack() as stack:
        silent = [stack.enter_context(raw(one)) for _ in range(MAX_LOGINS + 10)]
        for first in silent[:10]:
            assert first.error().field(b"C") == b"53300"
        assert one.run(nothing, user="ann", password="ann-secret") == 1
        assert silent[-1].start().read() is not None, "the last ones are still there"


def test_no_password_is_printed_or_shown(sidecar: Callable[..., Sidecar], postgres_shards: list[Postgres], tmp_path: Path) -> None:
    secrets = {"SHOP_PASSWORD": "shop-s3cret-up", "ANN_PASSWORD": "ann-s3cret-down"}
    typed = "typed-s3cret"
    seen = ""
    for method in ("scram", "md5"):
        port = ports.free()
        running = sidecar(objects(postgres_shards[:1], port, listener=f", auth: {method}{USERS}"), env=secrets)
        one = Mesh(running, port, postgres_shards)
        for password in (typed, secrets["ANN_PASSWORD"]):
            with pytest.raises((asyncpg.PostgresError, asyncpg.PostgresConnectionError)) as refused:
                one.run(nothing, user="ann", password=password)  # the server refuses what we log in with
            seen += repr(refused.value) + repr(vars(refused.value))
        with raw(one) as client:
            client.start().send(b"p", typed.encode() + b"\0")
            seen += repr(client.error())
        seen += running.get("/metrics").text + running.get("/config").text + running.log
        seen += "".join(path.read_text(errors="replace") for path in tmp_path.rglob("state/*") if path.is_file())
    assert "password authentication failed" in seen
    for secret in (*secrets.values(), typed):
        assert secret not in seen


@pytest.fixture
def tls_server() -> Iterator[Postgres]:
    server = start(lambda: Postgres("tls", database="shop", users={"app": "app-password"}, tls=True).start())
    yield server
    server.kill()


def test_a_server_is_verified_as_soon_as_an_authority_is_given(mesh: Start, tls_server: Postgres, tmp_path: Path) -> None:
    from mesh_core.lab.certs import Authority  # wants `cryptography`, which only TLS needs

    assert tls_server.authority is not None
    right, wrong = tls_server.authority.certificate, Authority(tmp_path).certificate

    def with_tls(fields: str) -> Any:
        return mesh([tls_server], database=f"  tls: {{{fields}}}", pool=", waitTimeout: 1h").run(nothing)

    assert with_tls(f"caFrom: {{file: {right}}}") == 1
    # A wrong certificate is told at once, since waiting does not mend it.
    with pytest.raises(asyncpg.PostgresConnectionError, match=r"no connection to shop/s0.*certificate not valid for name .*other.example") as refused:
        with_tls(f"serverName: other.example, caFrom: {{file: {right}}}")
    assert refused.value.sqlstate == "08006"
    with pytest.raises(asyncpg.PostgresConnectionError, match=r"no connection to shop/s0.*invalid peer certificate: (UnknownIssuer|BadSignature)"):
        with_tls(f"caFrom: {{file: {wrong}}}")
    assert with_tls(f"mode: verify-ca, serverName: other.example, caFrom: {{file: {right}}}") == 1
