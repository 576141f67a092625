"""The kind Database and the listener protocols postgres and mysql. Sharding is in sharding_model.py."""

from collections.abc import Iterable, Iterator
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
MAX_CLIENTS = 1_000_000

_AUTH = {"trust": "TRUST", "password": "PASSWORD", "md5": "MD5", "scram": "SCRAM_SHA_256", "cert": "CERTIFICATE"}


def _server(text: str) -> str:
    # Without a port it is the engine's own; a port 0 is nobody's.
    if parse_host_port(text.partition("/")[0], 1).port == 0:
        raise ValueError("a server has no port 0")
    return text


Server = Annotated[str, AfterValidator(_server)]  # "host:port/database"; the port may be left out, the database too (then: the object's name)


Mode = Literal["transaction", "session"]
Size = Annotated[int, Field(ge=1, le=MAX_POOL_SIZE)]
Number = Annotated[int, Field(ge=0, le=MAX_POOL_SIZE)]
Clients = Annotated[int, Field(ge=0, le=MAX_CLIENTS)]


class Pool(Spec):
    """Sizes are server connections per sidecar process and shard. A duration of 0s means never, except for timeouts of waiting; a limit of 0 none."""

    mode: Mode = "transaction"
    size: Size = 20
    minimum: Number = 0
    reserve: Number = 0
    reserve_timeout: Duration = "5s"
    max_clients: Clients = 0
    max_servers: Number = 0
    wait_timeout: Duration = "30s"
    idle_timeout: Duration = "10m"
    max_lifetime: Duration = "1h"
    connect_timeout: Duration = "5s"


class UserPool(Spec):
    """What differs from the Database's own pool; `minimum`, `reserve` and `maxClients` are none unless they are given."""

    mode: Mode | None = None
    size: Size | None = None
    minimum: Number = 0
    reserve: Number = 0
    max_clients: Clients = 0

    def over(self, pool: Pool) -> Pool:
        """The whole pool of the user."""
        return pool.model_copy(update={name: value for name, value in self if value is not None})


class UserOfDatabase(Spec):
    """A user whose connections come from pools of its own."""

    name: Annotated[str, Field(min_length=1)]
    pool: UserPool = UserPool()


class Reads(Spec):
    """Where reads go that are proven to be reads. A session always sees what it wrote."""

    from_: Literal["primary", "replicas"] = Field(default="primary", alias="from")
    max_lag: Duration = "10s"
    wait: Duration = "200ms"
    tokens: bool = False


class Shard(Spec):
    name: Name
    primary: Server
    replicas: list[Server] = Field(default_factory=list)


class ServerTls(UpstreamTls):
    """`direct`: TLS from the first byte on (PostgreSQL 17 or later), one round trip less than asking for it."""

    negotiation: Literal["request", "direct"] = "request"


class DatabaseSpec(Spec):
    engine: Literal["postgres", "mysql"]
    credentials: Credentials | None = None
    pool: Pool = Pool()
    users: list[UserOfDatabase] = Field(default_factory=list)
    shards: Annotated[list[Shard], Field(min_length=1)]
    tls: ServerTls | None = None
    reads: Reads = Reads()


def register(kinds: Kinds) -> None:
    kinds.add(Kind("Database", DatabaseSpec, check_database, compile_database))
    kinds.add(Kind("Sharding", sharding_model.ShardingSpec, sharding_model.check_sharding, sharding_model.compile_sharding, together=True))
    fields = frozenset({"auth", "users", "databases", "tls"})
    auths = frozenset(_AUTH)
    kinds.add_protocol(Protocol("postgres", "Database", fields | {"admins", "admin_database"}, compile_filter, check_listener, auths=auths))
    kinds.add_protocol(Protocol("mysql", "Database", fields, compile_filter, check_listener, auths=auths))


def check_database(owner: Authored, world: World) -> Iterable[Problem]:
    """Shards have names of their own, and a replica holds the database of its primary."""
    yield from _pools(owner)
    yield from _check_reads(owner)
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


def _pools(owner: Authored) -> Iterator[Problem]:
    spec = owner.spec
    if spec.engine != "postgres" and spec.users:
        yield owner.problem("spec.users", f"means nothing to engine {spec.engine}", "remove it")
    seen: set[str] = set()
    pools = [("spec.pool", spec.pool)]
    for index, user in enumerate(spec.users):
        if user.name in seen:
            yield owner.problem(f"spec.users[{index}].name", f"two users are named {user.name}", "make one of them")
        seen.add(user.name)
        pools.append((f"spec.users[{index}].pool", user.pool.over(spec.pool)))
    for path, pool in pools:
        if pool.minimum > pool.size:
            yield owner.problem(f"{path}.minimum", f"is more than the pool's size of {pool.size}", "lower it")
        if pool.max_servers and pool.size > pool.max_servers:
            yield owner.problem(f"{path}.size", f"is more than pool.maxServers, {pool.max_servers}", "lower it, or raise maxServers")


def _check_reads(owner: Authored) -> Iterable[Problem]:
    if owner.spec.reads.from_ == "primary":
        return
    if owner.spec.engine != "postgres":
        yield owner.problem("spec.reads.from", f"replicas are not read with engine {owner.spec.engine} yet", "remove it")
    if len(owner.spec.shards) > 1:
        yield owner.problem("spec.reads.from", "replicas of several shards are not read yet", "remove it, or use a Database of one shard")
    if not any(shard.replicas for shard in owner.spec.shards):
        yield owner.problem("spec.reads.from", "asks for replicas, and no shard has one", "name the replicas of each shard")


def check_listener(listener: Authored, world: World) -> Iterable[Problem]:
    database = world.get("Database", listener.spec.backend)
    if database is not None and database.spec.engine != listener.spec.protocol:
        reason = f"Database {database.name} is {database.spec.engine}, the listener speaks {listener.spec.protocol}"
        yield listener.problem("spec.backend", reason, "the mesh does not translate between databases; make them agree")
    yield from _admins(listener)


def _admins(listener: Authored) -> Iterator[Problem]:
    spec = listener.spec
    if spec.admin_database is not None and not spec.admins:
        yield listener.problem("spec.adminDatabase", "names a database that nobody may see", "list admins")
    known = {user.name for user in spec.users}
    for index, name in enumerate(spec.admins):
        if known and name not in known:
            yield listener.problem(f"spec.admins[{index}]", f"{name} is no user of this listener and cannot log in", "add it to users")


def place(owner: Authored, server: str) -> tuple[HostPort, str]:
    """Where a shard's server is, and the name of the database there."""
    where, _, database = server.partition("/")
    return parse_host_port(where, DEFAULT_PORTS[owner.spec.engine]), database or owner.name


def compile_database(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.sql.v1.Database")(name=owner.name, engine=spec.engine.upper())
    set_credentials(result.credentials, owner, spec.credentials)
    _set_pool(result.pool, spec.pool)
    for user in spec.users:
        _set_pool(result.users.add(name=user.name).pool, user.pool.over(spec.pool))
    set_upstream_tls(result.tls, owner, spec.tls)
    _set_reads(result, spec.reads)
    if spec.tls is not None:
        result.tls.negotiation = spec.tls.negotiation.upper()
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
    result.admins.extend(spec.admins)
    result.admin_database = spec.admin_database or ""
    return result


def _set_reads(database: Message, reads: Reads) -> None:
    if reads.tokens:
        database.reads.tokens = True
    if reads.from_ == "replicas":
        target = database.reads
        setattr(target, "from", 1)
        target.max_lag_ms = parse_duration_ms(reads.max_lag)
        target.wait_ms = parse_duration_ms(reads.wait)


def _set_pool(target: Message, pool: Pool) -> None:
    target.mode = pool.mode.upper()
    target.size = pool.size
    target.min_size = pool.minimum
    target.reserve_size = pool.reserve
    target.reserve_timeout_ms = parse_duration_ms(pool.reserve_timeout)
    target.max_clients = pool.max_clients
    target.max_servers = pool.max_servers
    target.wait_timeout_ms = parse_duration_ms(pool.wait_timeout)
    target.idle_timeout_ms = parse_duration_ms(pool.idle_timeout)
    target.max_lifetime_ms = parse_duration_ms(pool.max_lifetime)
    target.connect_timeout_ms = parse_duration_ms(pool.connect_timeout)
