"""The kind TcpService and the listener protocol tcp: bytes that Midstream carries without understanding them."""

from collections.abc import Iterable
from typing import Annotated

from google.protobuf.message import Message
from pydantic import BeforeValidator

from mesh_core.compile.skeleton import PRIMARY, cluster
from mesh_core.model.builtin import no_check
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, Protocol, World
from mesh_core.model.values import Duration, Spec, parse_duration_ms, parse_host_port
from xds.messages import message


def _endpoint(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError('write "HOST:PORT"')
    return str(parse_host_port(text))


class TcpServiceSpec(Spec):
    """One server."""

    endpoint: Annotated[str, BeforeValidator(_endpoint)]
    connect_timeout: Duration = "1s"


def register(kinds: Kinds) -> None:
    """Adds both."""
    kinds.add(Kind("TcpService", TcpServiceSpec, no_check, compile_service))
    kinds.add_protocol(Protocol("tcp", "TcpService", frozenset(), compile_filter))


def compile_service(owner: Authored, world: World) -> Iterable[Compiled]:
    """Its cluster and endpoint."""
    spec = owner.spec
    timeout_ms = parse_duration_ms(spec.connect_timeout)
    yield from cluster(owner, f"tcp/{owner.name}", [(parse_host_port(spec.endpoint), PRIMARY)], timeout_ms, "spec.endpoint")


def compile_filter(listener: Authored, world: World) -> Message:
    """The relay's configuration."""
    return message("midstream.core.v1.TcpProxy")(cluster=f"tcp/{listener.spec.backend}")
