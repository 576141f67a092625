"""gRPC services: ADS and one service per type, each in both variants, over generic handlers; and the status of clients.

Requests are decoded by protobuf; responses leave the state machines as bytes, so there is nothing to serialise.
"""

import asyncio
from collections.abc import AsyncIterator

import grpc
import structlog

from xds.messages import message
from xds.protocol import types
from xds.protocol.delta import DeltaStream
from xds.protocol.sotw import SotwStream
from xds.protocol.stream import ServerStream, StreamError
from xds.server import csds, loads
from xds.server.alarms import Alarms
from xds.server.gate import Denied, admitted
from xds.server.hub import Connection, Hub
from xds.server.turns import Writer

log = structlog.get_logger("xds.server")

_DELTA_REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_SOTW_REQUEST = "envoy.service.discovery.v3.DiscoveryRequest"

# service, state-of-the-world method (empty: virtual hosts have none), delta method, type URL (empty: many types, each request names its own)
_SERVICES = (
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources", "DeltaAggregatedResources", ""),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "StreamClusters", "DeltaClusters", types.CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "StreamEndpoints", "DeltaEndpoints", types.ENDPOINTS),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "StreamListeners", "DeltaListeners", types.LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "StreamRoutes", "DeltaRoutes", types.ROUTE),
    ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "StreamScopedRoutes", "DeltaScopedRoutes", types.SCOPED_ROUTE),
    ("envoy.service.route.v3.VirtualHostDiscoveryService", "", "DeltaVirtualHosts", types.VIRTUAL_HOST),
    ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "StreamExtensionConfigs", "DeltaExtensionConfigs", types.EXTENSION),
    ("envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets", "DeltaSecrets", types.SECRET),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "StreamRuntime", "DeltaRuntime", types.RUNTIME),
)


def handlers(hub: Hub) -> list[grpc.GenericRpcHandler]:
    """Everything to add to a grpc.aio server."""
    result = [csds.handler(hub), loads.handler(hub)]
    for service, sotw, delta, type_url in _SERVICES:
        methods = {delta: _method(hub, DeltaStream, _DELTA_REQUEST, type_url)}
        if sotw:
            methods[sotw] = _method(hub, SotwStream, _SOTW_REQUEST, type_url)
        result.append(grpc.method_handlers_generic_handler(service, methods))
    return [*result, grpc.method_handlers_generic_handler("midstream.status.v1.Reports", {"Tell": _reports(hub)})]


def _reports(hub: Hub) -> grpc.RpcMethodHandler:
    async def tell(requests: AsyncIterator, context: grpc.aio.ServicerContext):
        who = await admitted(hub.gate, context)
        async for report in requests:
            try:
                who.require(message("envoy.config.core.v3.Node")(id=report.node))
            except Denied as denied:
                await context.abort(denied.status, str(denied))
            hub.told(report)
        return message("midstream.status.v1.Reported")()

    decode = message("midstream.status.v1.Report").FromString
    encode = message("midstream.status.v1.Reported").SerializeToString
    return grpc.stream_unary_rpc_method_handler(tell, request_deserializer=decode, response_serializer=encode)


def _method(hub: Hub, machine: type[ServerStream], request: str, type_url: str) -> grpc.RpcMethodHandler:
    async def serve(_, context: grpc.aio.ServicerContext) -> None:
        if hub.is_full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this control plane has as many clients as it can serve; use another one")
        who = await admitted(hub.gate, context)
        await _serve(hub, Connection(context.peer(), machine(hub.snapshot), who=who), type_url, context)

    return grpc.stream_stream_rpc_method_handler(serve, request_deserializer=message(request).FromString)


async def _serve(hub: Hub, connection: Connection, type_url: str, context: grpc.aio.ServicerContext) -> None:
    """Reads until the client leaves or the stream is ended here; what is due is written in turn with all others."""
    alarms = Alarms(connection.stream, hub.max_wait_s)
    task = asyncio.current_task()
    assert task is not None
    writer = Writer(hub.turns, connection.stream, context, alarms, lambda: connection.open, task.cancel)
    connection.wake.ring = writer.ring
    hub.opened(connection)
    refused: Denied | None = None
    try:
        await _read(hub, connection, type_url, context)
    except StreamError as error:
        refused = Denied(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except Denied as denied:
        refused = denied
    except (asyncio.CancelledError, grpc.aio.InternalError):
        pass  # the client went away, or the stream was ended; nothing is left to say
    finally:
        writer.close()
        hub.closed(connection)
    if writer.failure is not None:
        raise writer.failure
    refused = refused or connection.denied
    if refused is not None:
        log.warning("stream refused", node=connection.node, peer=connection.peer, reason=str(refused))
        await context.abort(refused.status, str(refused))


async def _read(hub: Hub, connection: Connection, type_url: str, context: grpc.aio.ServicerContext) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        if type_url:
            _set_type(request, type_url)
        if connection.stream.node is None:
            connection.who.require(request.node)
        hub.received(connection, connection.stream.receive(request))


def _set_type(request, type_url: str) -> None:
    """On a per-type service the type may be left out."""
    if request.type_url not in ("", type_url):
        raise StreamError(f"this service carries {type_url} only; use the aggregated service for {request.type_url}")
    request.type_url = type_url
