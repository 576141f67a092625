"""Resources that Envoy and gRPC understand, and our server with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from xds.messages import message, serialise, type_url
from xds.protocol.resource import Resource
from xds.protocol.types import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from xds.server.hub import Hub
from xds.server.listen import GrpcServer, listen
from xds.server.status import State, resource_states

WITHIN_S = 30
ADS = {"ads": {}, "resource_api_version": "V3"}
_FILTERS = "envoy.extensions.filters."


class Server:
    """Our server; `settled` waits until a node has acknowledged everything it asked for."""

    def __init__(self) -> None:
        self.hub = Hub()
        self._answered = asyncio.Condition()
        self.hub.on_verdict(lambda *_: asyncio.ensure_future(self._tell()))

    async def __aenter__(self) -> Server:
        self._grpc: GrpcServer = await listen(self.hub, "127.0.0.1:0")
        self.port = self._grpc.port
        return self

    async def __aexit__(self, *_) -> None:
        await self._grpc.stop(0)

    async def _tell(self) -> None:
        async with self._answered:
            self._answered.notify_all()

    async def settled(self, node: str, *names: str) -> None:
        """Until these are in force there, in their newest versions."""
        async with self._answered:
            await asyncio.wait_for(self._answered.wait_for(lambda: set(names) <= self._acked(node)), WITHIN_S)

    async def refused(self, node: str, name: str) -> str:
        """Until this is refused there: why."""
        async with self._answered:
            await asyncio.wait_for(self._answered.wait_for(lambda: name in self._states(node, State.NACKED)), WITHIN_S)
        return self._states(node, State.NACKED)[name]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Until an answer makes this true."""
        async with self._answered:
            await asyncio.wait_for(self._answered.wait_for(reached), WITHIN_S)

    def _acked(self, node: str) -> set[str]:
        return set(self._states(node, State.ACKED))

    def _states(self, node: str, state: State) -> dict[str, str]:
        connection = self.hub.nodes.get(node)
        found = resource_states(self.hub, connection) if connection is not None else ()
        return {f"{one.type_url.rpartition('.')[2]} {one.name}": one.reason for one in found if one.state is state}


def cluster(name: str, *, http2: bool = False) -> Resource:
    found = message("envoy.config.cluster.v3.Cluster")(
        name=name, type="EDS", eds_cluster_config={"eds_config": ADS}, connect_timeout={"seconds": 5}, lb_policy="ROUND_ROBIN"
    )
    if http2:
        found.http2_protocol_options.SetInParent()
    return Resource(CLUSTER, name, serialise(found), warms=((ENDPOINTS, name),))


def endpoints(name: str, *ports: int) -> Resource:
    found = message("envoy.config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name)
    group = found.endpoints.add(locality={"region": "here"}, load_balancing_weight={"value": 1})
    for port in ports:
        group.lb_endpoints.add(endpoint={"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}})
    return Resource(ENDPOINTS, name, serialise(found))


def redis_listener(name: str, port: int, upstream: str) -> Resource:
    """Envoy's own Redis proxy, on a port, before a cluster."""
    proxy = message(_FILTERS + "network.redis_proxy.v3.RedisProxy")(
        stat_prefix=name, settings={"op_timeout": {"seconds": 5}}, prefix_routes={"catch_all_route": {"cluster": upstream}}
    )
    found = message("envoy.config.listener.v3.Listener")(name=name)
    found.address.socket_address.address, found.address.socket_address.port_value = "127.0.0.1", port
    _pack(found.filter_chains.add().filters.add(name="envoy.filters.network.redis_proxy").typed_config, proxy)
    return Resource(LISTENER, name, serialise(found))


def api_listener(name: str) -> Resource:
    """What a gRPC client looks up: its routes come by RDS under the same name."""
    manager = message(_FILTERS + "network.http_connection_manager.v3.HttpConnectionManager")(
        rds={"config_source": ADS, "route_config_name": name}, stat_prefix=name
    )
    _pack(manager.http_filters.add(name="router").typed_config, message(_FILTERS + "http.router.v3.Router")())
    found = message("envoy.config.listener.v3.Listener")(name=name)
    _pack(found.api_listener.api_listener, manager)
    return Resource(LISTENER, name, serialise(found), warms=((ROUTE, name),))


def route(name: str, upstream: str) -> Resource:
    found = message("envoy.config.route.v3.RouteConfiguration")(name=name)
    host = found.virtual_hosts.add(name=name, domains=["*"])
    host.routes.add(match={"prefix": ""}, route={"cluster": upstream})
    return Resource(ROUTE, name, serialise(found))


def shop(upstreams: dict[str, int], to: str) -> Iterable[Resource]:
    """A gRPC service `shop` whose calls go to one of several clusters."""
    for name, port in upstreams.items():
        yield from (cluster(name, http2=True), endpoints(name, port))
    yield from (api_listener("shop"), route("shop", to))


def _pack(into, value) -> None:
    into.type_url, into.value = type_url(value.DESCRIPTOR.full_name), serialise(value)
