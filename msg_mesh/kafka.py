"""The kind KafkaCluster and the listener protocol kafka."""

from collections.abc import Iterable
from typing import Annotated

from google.protobuf.message import Message
from pydantic import Field

from mesh_core.compile.secrets import set_downstream_tls, set_upstream_tls
from mesh_core.compile.skeleton import PRIMARY, cluster
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, Protocol, World
from mesh_core.model.problem import Problem
from mesh_core.model.secrets import UpstreamTls
from mesh_core.model.values import Duration, ServerAddress, Spec, parse_duration_ms, parse_host_port, unix_path
from msg_mesh import federation, sasl, virtual
from msg_mesh.sasl import KafkaCredentials, KafkaPrincipal
from xds.messages import message, type_url

# What stands for a broker's id in a pattern of names.
NODE = "{node}"


class KafkaClusterSpec(Spec):
    """`bootstrap` are the brokers asked first: the others are learned from the cluster itself."""

    bootstrap: Annotated[list[ServerAddress], Field(min_length=1)]
    tls: UpstreamTls | None = None
    credentials: KafkaCredentials | None = None  # left out: clients authenticate to the brokers by themselves
    principals: list[KafkaPrincipal] = Field(default_factory=list)
    connect_timeout: Duration = "5s"


def register(kinds: Kinds) -> None:
    kinds.add(Kind("KafkaCluster", KafkaClusterSpec, sasl.check_cluster, compile_cluster))
    fields = frozenset({"auth", "users", "sasl", "tls", "broker_ports", "broker_hosts", "advertised_host", "advertised_port"})
    virtual.register(kinds)
    federation.register(kinds)
    also = (virtual.KIND, federation.KIND)
    kinds.add_protocol(Protocol("kafka", "KafkaCluster", fields, compile_filter, check_listener, also=also, auths=sasl.AUTHS, throttles=True))


def check_listener(listener: Authored, world: World) -> Iterable[Problem]:
    """Brokers are told apart by a port each, none of them the bootstrap address's, or by a name each."""
    spec = listener.spec
    if spec.broker_ports is None and spec.broker_hosts is None:
        said = 'add brokerPorts: "FIRST-LAST", where broker n is reached at FIRST + n, or brokerHosts with a name for each broker'
        yield listener.problem("spec.brokerPorts", "is missing", said)
    elif unix_path(spec.address) is not None:
        yield listener.problem("spec.address", "is a path, and Kafka's clients are told hosts and ports", "listen on an address with a port")
    elif spec.broker_hosts is not None:
        yield from _named(listener)
    elif parse_host_port(spec.address).port in spec.broker_port_range:
        yield listener.problem("spec.brokerPorts", "contains the port of the listener's own address", "choose ports beside it")
    yield from sasl.check_listener(listener, world)


def _named(listener: Authored) -> Iterable[Problem]:
    """The name that a client asks for is a part of TLS."""
    spec = listener.spec
    if spec.broker_hosts.count(NODE) != 1:
        yield listener.problem("spec.brokerHosts", f"has {NODE} not once", f"write the brokers' names as b{NODE}.events.example")
    if spec.broker_ports is not None:
        yield listener.problem("spec.brokerPorts", "is for brokers without names", "keep it or brokerHosts")
    if spec.advertised_host is not None:
        yield listener.problem("spec.advertisedHost", "is for brokers without names", "remove it; brokerHosts is what clients are told")
    if spec.tls is None:
        yield listener.problem("spec.brokerHosts", "needs TLS: the name that a client asks for is a part of it", "add tls, or use brokerPorts")


def compile_cluster(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    name = f"kafka/{owner.name}"
    connect_timeout_ms = parse_duration_ms(spec.connect_timeout)
    brokers = [(parse_host_port(broker), PRIMARY) for broker in spec.bootstrap]
    yield from cluster(owner, name, brokers, connect_timeout_ms, "spec.bootstrap")
    result = message("midstream.kafka.v1.KafkaCluster")(name=owner.name, cluster=name, connect_timeout_ms=connect_timeout_ms)
    set_upstream_tls(result.tls, owner, spec.tls)
    sasl.set_credentials(result.credentials, owner, spec.credentials, "spec.credentials")
    sasl.add_principals(result.principals, owner, spec.principals)
    yield Compiled(type_url("midstream.kafka.v1.KafkaCluster"), owner.name, result, owner)


def compile_filter(listener: Authored, world: World) -> Message:
    spec = listener.spec
    tenant = world.get(virtual.KIND, spec.backend)
    several = world.get(federation.KIND, spec.backend)
    backend = spec.backend
    if tenant:
        backend = tenant.spec.cluster
    elif several:
        backend = several.spec.clusters[0].cluster
    result = message("midstream.kafka.v1.KafkaProxy")(
        backend=backend,
        virtual_cluster=tenant.name if tenant else "",
        federation=several.name if several else "",
        broker_hosts=spec.broker_hosts or "",
        advertised_host=spec.advertised_host or "",
        advertised_port=spec.advertised_port or 0,
    )
    if ports := spec.broker_port_range:
        result.broker_port_first, result.broker_port_last = ports.start, ports.stop - 1
    set_downstream_tls(result.tls, listener, spec.tls, default_mode="required")
    sasl.set_authentication(result.authentication, listener)
    return result
