"""Who is let in, and how we log in ourselves."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.postgres.conftest import Mesh, objects

if TYPE_CHECKING:
    from mesh_core.lab.certs import Authority

ANN = ", users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}]"


def authority_in(folder: Path) -> Authority:
    from mesh_core.lab.certs import Authority  # wants `cryptography`, which only TLS needs

    return Authority(folder)


async def nothing(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("select 1")


@pytest.mark.parametrize("method", ["scram", "md5"])
def test_passwords(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], method: str) -> None:
    one = mesh(postgres_shards[:1], listener=f", auth: {method}{ANN}")
    assert one.run(nothing, user="ann", password="ann-secret") == 1
    messages = []
    for user in ("ann", "nobody"):
        with pytest.raises(asyncpg.InvalidPasswordError) as refused:
            one.run(nothing, user=user, password="wrong")
        messages.append(str(refused.value).replace(user, "?"))
    assert messages[0] == messages[1], "a user that does not exist looks like a wrong password"


def test_a_database_that_is_not_listed(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> None:
    one = mesh(postgres_shards[:1], listener=", databases: [shop]")
    with pytest.raises(asyncpg.InvalidCatalogNameError, match="listener shop"):
        one.run(nothing, database="other")


def test_tls_clear_text_and_certificates(mesh: Callable[..., Mesh], postgres_shards: list[Postgres], tmp_path: Path) -> None:
    authority = start(lambda: authority_in(tmp_path))
    pair, client = authority.issue("localhost"), authority.issue("ann")
    files = f"certFrom: {{file: {pair.certificate}}}, keyFrom: {{file: {pair.key}}}, clientCaFrom: {{file: {authority.certificate}}}"
    tls = f"tls: {{mode: required, {files}}}"
    trusted = ssl.create_default_context(cafile=authority.certificate)
    password = mesh(postgres_shards[:1], listener=f", auth: password{ANN}, {tls}")
    assert password.run(nothing, user="ann", password="ann-secret", ssl=trusted) == 1
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="TLS"):
        password.run(nothing, user="ann", password="ann-secret")
    certificate = mesh(postgres_shards[:1], listener=f", auth: cert, {tls}")
    trusted.load_cert_chain(client.certificate, client.key)
    assert certificate.run(nothing, user="ann", ssl=trusted) == 1
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="ann"):
        certificate.run(nothing, user="bob", ssl=trusted)


def test_tls_to_the_server(mesh: Callable[..., Mesh]) -> None:
    server = start(lambda: Postgres("tls", database="shop", users={"app": "app-password"}, tls=True).start())
    try:
        assert server.authority is not None
        verified = f"  tls: {{mode: verify-full, caFrom: {{file: {server.authority.certificate}}}}}"
        one = mesh([server], database=verified)

        async def work(connection: asyncpg.Connection) -> bool:
            return await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")

        assert one.run(work) is True
    finally:
        server.kill()


def test_a_wrong_password_for_the_server_names_the_cause(sidecar: Callable[..., object], postgres_shards: list[Postgres]) -> None:
    port = ports.free()
    running = sidecar(objects(postgres_shards[:1], port), env={"SHOP_PASSWORD": "wrong"})
    with pytest.raises(asyncpg.PostgresError, match='password authentication failed for user "app"') as refused:
        Mesh(running, port, postgres_shards).run(nothing)  # type: ignore[arg-type]
    assert "wrong" not in str(refused.value)
