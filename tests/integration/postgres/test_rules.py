"""Policies on statements: by identity, class and table."""

from collections.abc import Callable

import asyncpg
import pytest

from mesh_core.lab import Postgres, wait
from tests.integration.postgres.conftest import Mesh

POLICIES = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: read-only-reports}
spec:
  listeners: [shop]
  identities: ["user:reports"]
  rules: [{allow: [read], resources: ["ruled"]}, {deny: [write, admin], resources: ["*"]}]
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: few}
spec: {listeners: [shop], match: {resources: ["limited"]}, limit: {requests: 1, per: 1h, burst: 1}}
"""


@pytest.fixture
def ruled(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> Mesh:
    postgres_shards[0].sql("drop table if exists ruled, limited")
    postgres_shards[0].sql("create table ruled as select 1 as a")
    postgres_shards[0].sql("create table limited as select 1 as a")
    postgres_shards[0].sql("grant all on ruled, limited to app")
    return mesh(postgres_shards[:1], more=POLICIES)


def test_a_reader_reads_and_does_not_write(ruled: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        assert await connection.fetchval("select a from ruled") == 1
        for write in ("insert into ruled values (2)", "drop table ruled"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="AccessPolicy/read-only-reports"):
                await connection.execute(write)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="AccessPolicy/read-only-reports"):
                await connection.fetch(write)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.fetch("select a from ruled")
                await connection.execute("insert into ruled values (3)")
        assert await connection.fetchval("select count(*) from ruled") == 1

    ruled.run(work, user="reports")


def test_what_is_denied_rolls_back_what_was_done_before_it(ruled: Mesh) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("select a from limited")
        with pytest.raises(asyncpg.ConfigurationLimitExceededError, match="RateLimit/few"):
            async with connection.transaction():
                await connection.execute("insert into ruled values (2)")
                await connection.fetch("select a from limited")
        assert await connection.fetchval("select count(*) from ruled") == 1

    ruled.run(work)


def test_a_tap_hears_of_each_statement_and_its_outcome(mesh: Callable[..., Mesh], postgres_shards: list[Postgres]) -> None:
    tap = "---\napiVersion: midstream/v1\nkind: Tap\nmetadata: {name: audit}\nspec: {listeners: [shop]}\n"
    one = mesh(postgres_shards[:1], more=tap)

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("select 1 as tapped")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetch("select 1 / $1::int as tapped", 0)

    one.run(work)
    wait.until_true("two lines in the log", lambda: one.sidecar.log.count('"SELECT"') == 2)
    assert one.sidecar.log.count("22012") == 1
