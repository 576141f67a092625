"""Who a client of the server is, and which nodes it may be. What decides that is the application's; here is what the services ask of it.

A caller is identified once, before anything is read; what it claims to be is checked when it says so, before anything is sent; and it is
asked about again when others may come in than before.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import grpc
from google.protobuf.message import Message


class Denied(Exception):
    """A call that is refused; the text says what to do."""

    def __init__(self, status: grpc.StatusCode, reason: str):
        super().__init__(reason)
        self.status = status


def nobody(reason: str) -> Denied:
    """For who does not say, or cannot prove, who it is."""
    return Denied(grpc.StatusCode.UNAUTHENTICATED, reason)


def not_for_this(reason: str) -> Denied:
    """For somebody who is known, and asks for what is not theirs."""
    return Denied(grpc.StatusCode.PERMISSION_DENIED, reason)


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a caller: its metadata, and the certificate (PEM) that TLS has verified, if any."""

    metadata: dict[str, str]
    certificate: bytes = b""


class Peer(Protocol):
    """A caller that was let in."""

    @property
    def expires(self) -> float:
        """When it is to be asked about again, in seconds since the epoch."""

    def require(self, node: Message) -> None:
        """Raises Denied where it may not be this envoy.config.core.v3.Node."""

    def may_see(self, node: str) -> bool:
        """Whether it may be told the status of that node."""

    def require_still(self, node: Message | None) -> None:
        """Raises Denied where it would not be let in again as that node: a token was taken back, a certificate has expired."""


class Gate(Protocol):
    """Who may come in."""

    def admit(self, call: Call) -> Peer:
        """Raises Denied."""

    def has_changed(self) -> bool:
        """Whether others may come in than when this was last asked."""


class Anybody:
    """A caller of a server that asks nobody who they are."""

    expires = math.inf

    def require(self, node: Message) -> None:
        pass

    def may_see(self, node: str) -> bool:
        return True

    def require_still(self, node: Message | None) -> None:
        pass


ANYBODY = Anybody()


class Open:
    """For a server that only its own machine can reach."""

    def admit(self, call: Call) -> Peer:
        return ANYBODY

    def has_changed(self) -> bool:
        return False


async def admitted(gate: Gate, context: grpc.aio.ServicerContext) -> Peer:
    """Who calls; ends the call of who may not."""
    try:
        return gate.admit(_call(context))
    except Denied as denied:
        await context.abort(denied.status, str(denied))


def _call(context: grpc.aio.ServicerContext) -> Call:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return Call(metadata, next(iter(context.auth_context().get("x509_pem_cert", ())), b""))
