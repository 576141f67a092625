"""The Client Status Discovery Service of the control plane: what it knows of every sidecar."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message

from xds.messages import enum_values, message
from xds.protocol.types import SECRET
from xds.server.gate import ANYBODY, Peer, admitted
from xds.server.hub import Connection, Hub
from xds.server.status import State, resource_states

_SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
_STATUS = "envoy.service.status.v3.ConfigStatus"
_MEANING = {State.ACKED: "SYNCED", State.NACKED: "ERROR", State.QUARANTINED: "ERROR", State.SENT: "STALE", State.STALE: "STALE"}


def handler(hub: Hub) -> grpc.GenericRpcHandler:
    async def fetch(request: Message, context) -> Message:
        return status(hub, request, await admitted(hub.gate, context))

    async def stream(requests: AsyncIterator, context) -> None:
        who = await admitted(hub.gate, context)
        async for request in requests:
            await context.write(status(hub, request, who))

    request = message("envoy.service.status.v3.ClientStatusRequest").FromString
    response = message("envoy.service.status.v3.ClientStatusResponse").SerializeToString
    methods = {
        "FetchClientStatus": grpc.unary_unary_rpc_method_handler(fetch, request, response),
        "StreamClientStatus": grpc.stream_stream_rpc_method_handler(stream, request, response),
    }
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def status(hub: Hub, request: Message, who: Peer = ANYBODY) -> Message:
    """Of the nodes whose ids the request matches exactly; of all when it matches by none. Only those that may be seen by who asks."""
    response = message("envoy.service.status.v3.ClientStatusResponse")()
    wanted = {matcher.node_id.exact for matcher in request.node_matchers} - {""}
    for name, connection in hub.nodes.items():
        if (not wanted or name in wanted) and who.may_see(name):
            _describe(hub, connection, response.config.add(), contents=not request.exclude_resource_contents)
    return response


def _describe(hub: Hub, connection: Connection, config: Message, *, contents: bool) -> None:
    if connection.stream.node is not None:
        config.node.CopyFrom(connection.stream.node)
    for found in resource_states(hub, connection):
        row = config.generic_xds_configs.add(type_url=found.type_url, name=found.name, version_info=found.version)
        row.config_status = enum_values(_STATUS)[_MEANING[found.state]]
        if contents and found.type_url != SECRET:
            row.xds_config.type_url = found.type_url
            row.xds_config.value = hub.snapshot_for(connection.node).types[found.type_url].resources[found.name].value
        if found.reason:
            row.error_state.details = f"{found.field}: {found.reason}" if found.field else found.reason
