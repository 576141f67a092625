"""The kind RedisCluster and the listener protocol redis."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from google.protobuf.message import Message
from pydantic import BeforeValidator, Field, model_validator

from mesh_core.compile.secrets import add_users, set_credentials, set_downstream_tls, set_upstream_tls
from mesh_core.compile.skeleton import PRIMARY, cluster
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, Protocol, World
from mesh_core.model.problem import Problem
from mesh_core.model.secrets import Credentials, UpstreamTls
from mesh_core.model.values import Duration, Spec, parse_duration_ms, parse_host_port
from xds.messages import message, type_url

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379


def _node(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError('write "HOST:PORT"')
    return str(parse_host_port(text, DEFAULT_PORT))


class NearCache(Spec):
    """Replies of reads of one key, kept in the sidecar until the key changes; the nodes tell of changes (CLIENT TRACKING)."""

    prefixes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    max_bytes: Annotated[int, Field(ge=65536)] = 32 * 1024 * 1024  # of the sidecar's process; its workers share it
    max_entry_bytes: Annotated[int, Field(ge=1)] = 64 * 1024  # longer replies are not kept
    tracking: Literal["auto", "broadcast", "optin"] = "auto"  # of which keys the nodes tell
    max_age: Duration = "60s"  # the longest that a reply is served without being asked for again

    @model_validator(mode="after")
    def _no_overlap(self) -> Self:
        for prefix in self.prefixes:
            if sum(other.startswith(prefix) for other in self.prefixes) > 1:
                raise ValueError(f"prefixes: another one begins with {prefix!r}; keep the shorter one only")
        return self


def _place(text: object) -> str:
    return str(parse_host_port(_node(text)))


class RedisReads(Spec):
    """Where reads go. A client always sees what it wrote on the same connection; what others wrote, after `max_lag`."""

    from_: Literal["primary", "replicas", "nearest"] = Field(default="primary", alias="from")
    max_lag: Duration = "5s"
    clients: Literal["all", "readonly"] = "all"  # readonly: those that say READONLY
    zone: str = ""  # the sidecar's; left out: the MIDSTREAM_ZONE of its environment
    zones: dict[Annotated[str, BeforeValidator(_place)], str] = Field(default_factory=dict)  # HOST:PORT of nodes that do not tell theirs


class NodeHealth(Spec):
    """Nodes that answer late, wrongly or not at all: replicas are not read for a while; of masters `masters` says what becomes."""

    answer_within: Duration = "500ms"  # a node that owes an answer and is silent for longer is an outlier; reads of a replica go elsewhere then
    errors: Annotated[int, Field(ge=0)] = 5  # so is one with so many within 10 s; 0: none is
    slower_than: Annotated[int, Field(ge=0)] = 0  # so is a replica that takes so many times as long as its peers; 0: none is
    ejection: Duration = "1s"  # out of use for that long, twice as long the next time
    max_ejection: Duration = "60s"
    max_ejected: Annotated[int, Field(ge=0, le=100)] = 50  # percent of the replicas; one always may be
    masters: Literal["wait", "fail"] = "wait"  # fail: commands for a master that is an outlier fail at once, until it answers


def _sentinel(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError('write "HOST:PORT"')
    return str(parse_host_port(text, DEFAULT_SENTINEL_PORT))


class RedisClusterSpec(Spec):
    """`nodes` are seeds: the others are learned from the cluster itself; with `mode: single` one server, or several of which one says that it is
    the master. `sentinels` name the master instead."""

    nodes: list[Annotated[str, BeforeValidator(_node)]] = Field(default_factory=list)
    sentinels: list[Annotated[str, BeforeValidator(_sentinel)]] = Field(default_factory=list)
    master: str = ""  # as the sentinels know it
    sentinel_credentials: Credentials | None = None
    mode: Literal["cluster", "single"] = "cluster"
    credentials: Credentials | None = None
    tls: UpstreamTls | None = None
    retry_deadline: Duration = "10s"  # redirects and retries of one command end here; a replica takes over in 3 to 5 s at usual timeouts
    connect_timeout: Duration = "1s"
    reads: RedisReads = RedisReads()
    cross_slot: Literal["split", "refuse"] = "split"  # commands with keys in several slots: not atomic, or CROSSSLOT as in any cluster
    cross_slot_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 8 << 20  # what one of them may read from nodes at a time
    near_cache: NearCache | None = None
    transactions: Literal["oneSlot", "bySlot"] = "oneSlot"  # MULTI with keys in several slots: CROSSSLOT, or one transaction for each slot
    health: NodeHealth = NodeHealth()
    admin: Literal["refused", "everywhere"] = "refused"  # CONFIG SET, ACL SETUSER ...: never, or on all nodes


def register(kinds: Kinds) -> None:
    kinds.add(Kind("RedisCluster", RedisClusterSpec, check_cluster, compile_cluster))
    kinds.add_protocol(Protocol("redis", "RedisCluster", frozenset({"users", "tls"}), compile_filter))


def check_cluster(owner: Authored, world: World) -> Iterable[Problem]:
    """Either nodes, or sentinels with the name of a master."""
    spec = owner.spec
    if bool(spec.nodes) == bool(spec.sentinels):
        yield owner.problem("spec.nodes", "are given together with sentinels" if spec.nodes else "are missing", "give nodes, or sentinels")
    if spec.sentinels and not spec.master:
        yield owner.problem("spec.master", "is missing", "say under which name the sentinels know the master")
    if spec.master and not spec.sentinels:
        yield owner.problem("spec.master", "is only known to sentinels", "give sentinels, or remove it")


def compile_cluster(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    name = f"redis/{owner.name}"
    connect_timeout_ms = parse_duration_ms(spec.connect_timeout)
    path, servers = ("spec.sentinels", spec.sentinels) if spec.sentinels else ("spec.nodes", spec.nodes)
    yield from cluster(owner, name, [(parse_host_port(server), PRIMARY) for server in servers], connect_timeout_ms, path)
    mode = "SENTINEL" if spec.sentinels else spec.mode.upper()
    result = message("midstream.redis.v1.RedisCluster")(name=owner.name, cluster=name, mode=mode, master=spec.master)
    set_credentials(result.sentinel_credentials, owner, spec.sentinel_credentials, "sentinelCredentials")
    result.retry_deadline_ms = parse_duration_ms(spec.retry_deadline)
    result.connect_timeout_ms = connect_timeout_ms
    result.cross_slot = spec.cross_slot.upper()
    result.cross_slot_bytes = spec.cross_slot_bytes
    result.transactions = {"oneSlot": "ONE_SLOT", "bySlot": "BY_SLOT"}[spec.transactions]
    result.admin = spec.admin.upper()
    _set_health(result.health, spec.health)
    if spec.near_cache is not None:
        _set_near_cache(result.near_cache, spec.near_cache)
    if spec.reads.from_ != "primary":
        _set_reads(result.reads, spec.reads)
    set_credentials(result.credentials, owner, spec.credentials)
    set_upstream_tls(result.tls, owner, spec.tls)
    yield Compiled(type_url("midstream.redis.v1.RedisCluster"), owner.name, result, owner)


def _set_health(target: Any, health: NodeHealth) -> None:
    target.answer_within_ms = parse_duration_ms(health.answer_within)
    target.errors = health.errors
    target.slower_than = health.slower_than
    target.ejection_ms = parse_duration_ms(health.ejection)
    target.max_ejection_ms = parse_duration_ms(health.max_ejection)
    target.max_ejected_percent = health.max_ejected
    target.masters = health.masters.upper()


def _set_near_cache(target: Any, near: NearCache) -> None:
    target.SetInParent()
    target.prefixes.extend(near.prefixes)
    target.max_bytes = near.max_bytes
    target.tracking = near.tracking.upper()
    target.max_entry_bytes = near.max_entry_bytes
    target.max_age_ms = parse_duration_ms(near.max_age)


def _set_reads(target: Message, reads: RedisReads) -> None:
    setattr(target, "from", reads.from_.upper())
    target.max_lag_ms = parse_duration_ms(reads.max_lag)
    target.clients = reads.clients.upper()
    target.zone = reads.zone
    target.zones.update(reads.zones)


def compile_filter(listener: Authored, world: World) -> Message:
    result = message("midstream.redis.v1.RedisProxy")(backend=listener.spec.backend)
    add_users(result.users, listener, listener.spec.users)
    set_downstream_tls(result.tls, listener, listener.spec.tls, default_mode="required")
    return result
