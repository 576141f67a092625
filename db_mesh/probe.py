"""Which servers of a shard live, and which one is the primary, for what no connection tells: a server that hangs, and one that comes back as
a primary after another one was promoted. What is seen becomes roles and health of the endpoints; the data plane does the rest.

Whatever is not sure changes nothing: a server counts as dead after several rounds without an answer, a primary only when another one is
there, and of two primaries the one with the newer timeline is right.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from google.protobuf.message import Message

from db_mesh.backend import Resources, Unreachable, connect_to
from xds.messages import message_of, serialise
from xds.protocol.client import Held, Key
from xds.protocol.types import ENDPOINTS

log = structlog.get_logger()

TIMEOUT_S = 1.0
# So many rounds in a row without an answer: a lost packet or a busy second is no death.
DEAD_AFTER = 3
# Servers that are asked side by side.
AT_ONCE = 16
UNHEALTHY = 2  # envoy.config.core.v3.HealthStatus

# A standby has no position of its own; the first eight digits of a WAL file's name are its timeline.
QUESTION = """
select pg_is_in_recovery() as standby,
       case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline
"""


@dataclass
class Server:
    """What is known of one server."""

    connection: Any = None
    misses: int = 0
    primary: bool = False
    timeline: str = ""

    @property
    def dead(self) -> bool:
        return self.misses >= DEAD_AFTER


class Prober:
    """See mesh_core.registry.Prober."""

    def __init__(self) -> None:
        self._resources = Resources({})
        self._held: dict[str, Held] = {}
        self._servers: dict[tuple[str, str, int], Server] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def configure(self, resources: Iterable[Held]) -> None:
        held = list(resources)
        self._resources = Resources.of(held)
        self._held = {one.name: one for one in held if one.type_url == ENDPOINTS}

    async def look(self) -> dict[Key, Held]:
        """One round. The endpoints as they were seen, where that differs from what is configured."""
        databases = self._resources.by_type.get("midstream.sql.v1.Database", {}).values()
        shards = [(database, shard) for database in databases if database.credentials.user for shard in database.shards]
        seen = await asyncio.gather(*(self._shard(database, shard) for database, shard in shards))
        found = {held.name: held for held in seen if held is not None}
        return {(ENDPOINTS, name): held for name, held in found.items()}

    async def close(self) -> None:
        for server in self._servers.values():
            if server.connection is not None:
                server.connection.terminate()

    async def _shard(self, database: Message, shard: Message) -> Held | None:
        held = self._held.get(shard.cluster)
        if held is None:
            return None
        assignment = message_of(ENDPOINTS).FromString(held.value)
        endpoints = [one for locality in assignment.endpoints for one in locality.lb_endpoints]
        if len(endpoints) < 2:
            return None
        servers = [self._servers.setdefault((shard.cluster, *_place(one)), Server()) for one in endpoints]
        await asyncio.gather(*(self._ask(server, database, shard, *_place(one)) for server, one in zip(servers, endpoints, strict=True)))
        _judge(endpoints, servers)
        value = serialise(assignment)
        if value == held.value:
            return None
        roles = [(f"{_place(one)[0]}:{_place(one)[1]}", _role(one), one.health_status) for one in endpoints]
        return Held(held.type_url, held.name, f"{held.version} as probed {roles}", value)

    async def _ask(self, server: Server, database: Message, shard: Message, host: str, port: int) -> None:
        async with self._slots:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    if server.connection is None:
                        server.connection = await connect_to(self._resources, database, shard, host, port)
                    row = await server.connection.fetchrow(QUESTION)
            except (Unreachable, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.debug("a probe was not answered", shard=shard.name, server=f"{host}:{port}", reason=str(error))
                if server.connection is not None:
                    server.connection.terminate()
                server.connection, server.misses = None, server.misses + 1
                return
        server.misses, server.primary, server.timeline = 0, not row["standby"], row["timeline"] or ""


def _judge(endpoints: list[Message], servers: list[Server]) -> None:
    """Writes roles and health into the endpoints."""
    primaries = [server for server in servers if server.primary and server.misses == 0]
    newest = max((server.timeline for server in primaries), default="")
    winners = [server for server in primaries if server.timeline == newest]
    if len(winners) != 1:
        return  # none yet, or two that cannot be told apart: what is configured stays
    for endpoint, server in zip(endpoints, servers, strict=True):
        is_deposed = server.primary and server is not winners[0]
        role = "primary" if server is winners[0] else "deposed" if is_deposed else "replica"
        endpoint.metadata.filter_metadata["midstream"].fields["role"].string_value = role
        if server.dead:
            endpoint.health_status = UNHEALTHY


def _place(endpoint: Message) -> tuple[str, int]:
    address = endpoint.endpoint.address.socket_address
    return address.address, address.port_value


def _role(endpoint: Message) -> str:
    return endpoint.metadata.filter_metadata["midstream"].fields["role"].string_value
