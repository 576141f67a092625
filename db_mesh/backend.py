"""Connections to the servers behind a Database resource, for what is not on the path of a packet: reading the schema."""

import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from xds.messages import message, message_of
from xds.protocol.client import Held

CONNECT_TIMEOUT_S = 1.5  # within the two seconds that a parked session waits
STATEMENT_TIMEOUT_S = 1.5


class Unreachable(Exception):
    """No server of the Database answers, or it lets nobody in; the text says which and why."""


@dataclass(frozen=True)
class Resources:
    """The resources in force, decoded, by message type and name."""

    by_type: dict[str, dict[str, Message]]

    @classmethod
    def of(cls, held: Iterable[Held]) -> "Resources":
        by_type: dict[str, dict[str, Message]] = {}
        for one in held:
            kind = one.type_url.rpartition("/")[2]
            by_type.setdefault(kind, {})[one.name] = message_of(one.type_url).FromString(one.value)
        return cls(by_type)

    def get(self, kind: str, name: str) -> Message | None:
        return self.by_type.get(kind, {}).get(name)

    def sharding_of(self, database: str) -> Message | None:
        found = self.by_type.get("midstream.sql.v1.Sharding", {}).values()
        return next((one for one in found if one.database == database), None)

    def database(self, name: str) -> Message | None:
        return self.get("midstream.sql.v1.Database", name)


async def connect(resources: Resources, database: Message, shard: Message) -> Any:
    """An asyncpg connection to the shard's primary: of several servers the one that says so. Raises Unreachable."""
    places = _places(resources, shard)
    failed = [f"shard {shard.name} has no endpoint"]
    for host, port in places:
        try:
            connection = await connect_to(resources, database, shard, host, port)
        except Unreachable as error:
            failed.append(str(error))
            continue
        if len(places) == 1 or not await _is_standby(connection):
            return connection
        failed.append(f"shard {shard.name} at {host}:{port} is a standby")
    raise Unreachable("; ".join(failed[-len(places) :]))


async def connect_to(resources: Resources, database: Message, shard: Message, host: str, port: int) -> Any:
    """An asyncpg connection to that server of the shard. Raises Unreachable."""
    import asyncpg

    user, password = _credentials(resources, database)
    try:
        return await asyncpg.connect(
            host=host,
            port=port,
            database=shard.database,
            user=user,
            password=password,
            ssl=_ssl(resources, database),
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "midstream planner"},
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ssl.SSLError) as error:
        raise Unreachable(f"shard {shard.name} at {host}:{port}: {error or type(error).__name__}") from error


async def _is_standby(connection: Any) -> bool:
    import asyncpg

    try:
        is_standby = await connection.fetchval("select pg_is_in_recovery()")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        is_standby = True
    if is_standby:
        connection.terminate()
    return is_standby


def _places(resources: Resources, shard: Message) -> list[tuple[str, int]]:
    """Host and port of the shard's servers, those that are said to be the primary first."""
    assignment = resources.get("envoy.config.endpoint.v3.ClusterLoadAssignment", shard.cluster)
    places: list[tuple[bool, str, int]] = []
    for locality in assignment.endpoints if assignment is not None else ():
        for one in locality.lb_endpoints:
            metadata = one.metadata.filter_metadata
            role = metadata["midstream"].fields["role"].string_value if "midstream" in metadata else ""
            address = one.endpoint.address.socket_address
            if role != "deposed":
                places.append((role == "replica", address.address, address.port_value))
    return [(host, port) for _, host, port in sorted(places, key=lambda place: place[0])]


def _credentials(resources: Resources, database: Message) -> tuple[str, str | None]:
    credentials = database.credentials
    if not credentials.user:
        raise Unreachable(f"Database {database.name} has no credentials to read its schema with")
    name = credentials.password_secret
    return credentials.user, _secret(resources, name) if name else None


def _secret(resources: Resources, name: str) -> str:
    secret = resources.get("envoy.extensions.transport_sockets.tls.v3.Secret", name)
    if secret is None:
        raise Unreachable(f"there is no Secret {name}")
    return _read(secret.generic_secret.secret, name).decode().removesuffix("\n")


def _read(source: Message, name: str) -> bytes:
    kind = source.WhichOneof("specifier")
    if kind == "filename":
        try:
            return Path(source.filename).read_bytes()
        except OSError as error:
            raise Unreachable(f"Secret {name}: {error}") from error
    if kind == "environment_variable":
        value = os.environ.get(source.environment_variable)
        if value is None:
            raise Unreachable(f"Secret {name}: the variable {source.environment_variable} is not set")
        return value.encode()
    return source.inline_bytes if kind == "inline_bytes" else source.inline_string.encode()


def _ssl(resources: Resources, database: Message) -> Any:
    modes = message("midstream.core.v1.UpstreamTls").DESCRIPTOR.fields_by_name["mode"].enum_type.values_by_number
    mode = modes[database.tls.mode].name if database.HasField("tls") else "DISABLE"
    if mode == "DISABLE":
        return False
    context = ssl.create_default_context()
    context.check_hostname = mode == "VERIFY_FULL"
    if mode == "REQUIRE":
        context.verify_mode = ssl.CERT_NONE
    if database.tls.ca_secret:
        authority = resources.get("envoy.extensions.transport_sockets.tls.v3.Secret", database.tls.ca_secret)
        if authority is not None:
            context.load_verify_locations(cadata=_read(authority.validation_context.trusted_ca, database.tls.ca_secret).decode())
    return context
