"""The kind Database and the listener protocols postgres and mysql. Sharding is in sharding_model.py."""

from collections.abc import Iterable
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import AfterValidator, Field

from db_mesh import sharding_model
from mesh_core.compile.secrets import add_users, set_credentials, set_downstream_tls, set_upstream_tls
from mesh_core.compile.skeleton import PRIMARY, REPLICA, cluster
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, Protocol, World
from mesh_core.model.problem import Problem
from mesh_core.model.secrets import Credentials, UpstreamTls
from mesh_core.model.values import Duration, HostPort, Name, Spec, parse_duration_ms, parse_host_port
from xds.messages import enum_values, message, type_url

DEFAULT_PORTS = {"postgres": 5432, "mysql": 3306}
MAX_POOL_SIZE = 10_000

_AUTH = {"trust": "TRUST", "password": "PASSWORD", "md5": "MD5", "scram": "SCRAM_SHA_256", "cert": "CERTIFICATE"}


def _server(text: str) -> str:
    parse_host_port(text.partition("/")[0], 0)
    return text


Server = Annotated[str, AfterValidator(_server)]  # "host:port/database"; the port may be left out, the database too (then: the object's name)


class Pool(Spec):
    """`size` is server connections per sidecar process and shard. A duration of 0s means never, except for timeouts of waiting."""

    mode: Literal["transaction", "session"] = "transaction"
    size: Annotated[int, Field(ge=1, le=MAX_POOL_SIZE)] = 20
    wait_timeout: Duration = "30s"
    idle_timeout: Duration = "10m"
    max_lifetime: Duration = "1h"
    connect_timeout: Duration = "5s"


class Shard(Spec):
    name: Name
    primary: Server
    replicas: list[Server] = Field(default_factory=list)


class DatabaseSpec(Spec):
    engine: Literal["postgres", "mysql"]
    credentials: Credentials | None = None
    pool: Pool = Pool()
    shards: Annotated[list[Shard], Field(min_length=1)]
    tls: UpstreamTls | None = None


def register(kinds: Kinds) -> None:
    kinds.add(Kind("Database", DatabaseSpec, check_database, compile_database))
    kinds.add(Kind("Sharding", sharding_model.ShardingSpec, sharding_model.check_sharding, sharding_model.compile_sharding))
    fields = frozenset({"auth", "users", "databases", "tls"})
    for engine in DEFAULT_PORTS:
        kinds.add_protocol(Protocol(engine, "Database", fields, compile_filter, check_listener))


def check_database(owner: Authored, world: World) -> Iterable[Problem]:
    """Shards have names of their own, and a replica holds the database of its primary."""
    seen: set[str] = set()
    primaries: dict[str, str] = {}
    for index, shard in enumerate(owner.spec.shards):
        path = f"spec.shards[{index}]"
        if shard.name in seen:
            yield owner.problem(f"{path}.name", f"two shards are named {shard.name}", "rename one")
        seen.add(shard.name)
        where = str(place(owner, shard.primary))
        if where in primaries:
            yield owner.problem(f"{path}.primary", f"is the database of shard {primaries[where]} already", "name another server or database")
        primaries[where] = shard.name
        for number, replica in enumerate(shard.replicas):
            if place(owner, replica)[1] != place(owner, shard.primary)[1]:
                yield owner.problem(f"{path}.replicas[{number}]", "names another database than its primary", "use the primary's database name")


def check_listener(listener: Authored, world: World) -> Iterable[Problem]:
    database = world.get("Database", listener.spec.backend)
    if database is not None and database.spec.engine != listener.spec.protocol:
        reason = f"Database {database.name} is {database.spec.engine}, the listener speaks {listener.spec.protocol}"
        yield listener.problem("spec.backend", reason, "the mesh does not translate between databases; make them agree")


def place(owner: Authored, server: str) -> tuple[HostPort, str]:
    """Where a shard's server is, and the name of the database there."""
    where, _, database = server.partition("/")
    return parse_host_port(where, DEFAULT_PORTS[owner.spec.engine]), database or owner.name


def compile_database(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.sql.v1.Database")(name=owner.name, engine=spec.engine.upper())
    set_credentials(result.credentials, owner, spec.credentials)
    _set_pool(result.pool, spec.pool)
    set_upstream_tls(result.tls, owner, spec.tls)
    for index, shard in enumerate(spec.shards):
        name = f"sql/{owner.name}/{shard.name}"
        primary, database = place(owner, shard.primary)
        result.shards.add(name=shard.name, cluster=name, database=database)
        endpoints = [(primary, PRIMARY)] + [(place(owner, replica)[0], REPLICA) for replica in shard.replicas]
        yield from cluster(owner, name, endpoints, parse_duration_ms(spec.pool.connect_timeout), f"spec.shards[{index}]")
    yield Compiled(type_url("midstream.sql.v1.Database"), owner.name, result, owner)


def compile_filter(listener: Authored, world: World) -> Message:
    spec = listener.spec
    result = message("midstream.sql.v1.SqlProxy")(engine=spec.protocol.upper(), database=spec.backend, databases=spec.databases)
    result.auth = enum_values("midstream.sql.v1.SqlProxy.Auth")[_AUTH[spec.auth or ("scram" if spec.users else "trust")]]
    add_users(result.users, listener, spec.users)
    set_downstream_tls(result.tls, listener, spec.tls, default_mode="optional")
    return result


def _set_pool(target: Message, pool: Pool) -> None:
    target.mode = pool.mode.upper()
    target.size = pool.size
    target.wait_timeout_ms = parse_duration_ms(pool.wait_timeout)
    target.idle_timeout_ms = parse_duration_ms(pool.idle_timeout)
    target.max_lifetime_ms = parse_duration_ms(pool.max_lifetime)
    target.connect_timeout_ms = parse_duration_ms(pool.connect_timeout)
