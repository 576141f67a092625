"""The kind KafkaCluster and the listener protocol kafka."""

from collections.abc import Iterable
from typing import Annotated

from google.protobuf.message import Message
from pydantic import Field

from mesh_core.compile.secrets import set_downstream_tls, set_upstream_tls
from mesh_core.compile.skeleton import PRIMARY, cluster
from mesh_core.model.builtin import no_check
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, Protocol, World
from mesh_core.model.problem import Problem
from mesh_core.model.secrets import UpstreamTls
from mesh_core.model.values import Duration, ServerAddress, Spec, parse_duration_ms, parse_host_port, unix_path
from xds.messages import message, type_url


class KafkaClusterSpec(Spec):
    """`bootstrap` are the brokers asked first: the others are learned from the cluster itself."""

    bootstrap: Annotated[list[ServerAddress], Field(min_length=1)]
    tls: UpstreamTls | None = None
    connect_timeout: Duration = "5s"


def register(kinds: Kinds) -> None:
    kinds.add(Kind("KafkaCluster", KafkaClusterSpec, no_check, compile_cluster))
    fields = frozenset({"tls", "broker_ports", "advertised_host"})
    kinds.add_protocol(Protocol("kafka", "KafkaCluster", fields, compile_filter, check_listener))


def check_listener(listener: Authored, world: World) -> Iterable[Problem]:
    """Broker n of the cluster is reached at the n-th of the broker ports, so there must be some, and the bootstrap address is none of them."""
    spec = listener.spec
    if spec.broker_ports is None:
        yield listener.problem("spec.brokerPorts", "is missing", 'add brokerPorts: "FIRST-LAST"; broker n is reached at FIRST + n')
    elif unix_path(spec.address) is not None:
        yield listener.problem("spec.address", "is a path, and Kafka's clients are told hosts and ports", "listen on an address with a port")
    elif parse_host_port(spec.address).port in spec.broker_port_range:
        yield listener.problem("spec.brokerPorts", "contains the port of the listener's own address", "choose ports beside it")


def compile_cluster(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    name = f"kafka/{owner.name}"
    connect_timeout_ms = parse_duration_ms(spec.connect_timeout)
    brokers = [(parse_host_port(broker), PRIMARY) for broker in spec.bootstrap]
    yield from cluster(owner, name, brokers, connect_timeout_ms, "spec.bootstrap")
    result = message("midstream.kafka.v1.KafkaCluster")(name=owner.name, cluster=name, connect_timeout_ms=connect_timeout_ms)
    set_upstream_tls(result.tls, owner, spec.tls)
    yield Compiled(type_url("midstream.kafka.v1.KafkaCluster"), owner.name, result, owner)


def compile_filter(listener: Authored, world: World) -> Message:
    spec = listener.spec
    ports = spec.broker_port_range
    result = message("midstream.kafka.v1.KafkaProxy")(backend=spec.backend, advertised_host=spec.advertised_host or "")
    result.broker_port_first, result.broker_port_last = ports.start, ports.stop - 1
    set_downstream_tls(result.tls, listener, spec.tls, default_mode="required")
    return result
