"""Our server and our client over real gRPC, in one event loop."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from xds.client.ads import AdsClient
from xds.messages import enum_values, message
from xds.protocol.client import Update
from xds.protocol.report import Refused
from xds.protocol.resource import Resource
from xds.protocol.types import CLUSTER, LISTENER, SECRET
from xds.server.errors import AddressInUse
from xds.server.hub import Hub
from xds.server.listen import GrpcServer, listen
from xds.server.status import State, resource_states

RULE = "type.googleapis.com/midstream.policy.v1.RateLimit"
TYPES = (CLUSTER, RULE, LISTENER)
WITHIN_S = 10


class Server:
    """A hub behind gRPC that can go away and come back on the same port."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.verdicts: asyncio.Queue = asyncio.Queue()
        self.hub.on_verdict(lambda node, verdict: self.verdicts.put_nowait((node, verdict)))
        self._grpc: GrpcServer | None = None
        self.address = ""

    async def start(self) -> "Server":
        self._grpc = await listen(self.hub, self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{self._grpc.port}"
        return self

    async def stop(self) -> None:
        assert self._grpc is not None
        await self._grpc.stop(0)

    def publish(self, *resources: Resource) -> None:
        self.hub.publish(resources)

    async def verdict_on(self, type_url: str, name: str):
        """The next answer to a response with this resource."""
        while True:
            _, verdict = await asyncio.wait_for(self.verdicts.get(), WITHIN_S)
            if verdict.type_url == type_url and name in verdict.names:
                return verdict


class Sidecar:
    """A client that keeps what it was told, refusing some."""

    def __init__(self, *addresses: str, node: str = "shop-1", held=()):
        self.updates: asyncio.Queue[Update] = asyncio.Queue()
        self.refuse: dict[str, str] = {}
        self.connections: asyncio.Queue = asyncio.Queue()
        self.client = AdsClient(addresses, node, TYPES, self._on_update, held=held, on_connection=self.connections.put_nowait)
        self._task = asyncio.create_task(self.client.run())

    async def _on_update(self, update: Update) -> list[Refused]:
        self.updates.put_nowait(update)
        return [Refused(url, name, item.version, "spec", self.refuse[name]) for (url, name), item in update.changed.items() if name in self.refuse]

    async def update(self) -> Update:
        return await asyncio.wait_for(self.updates.get(), WITHIN_S)

    async def connected_to(self) -> str | None:
        return await asyncio.wait_for(self.connections.get(), WITHIN_S)

    def held(self) -> dict[str, str]:
        return {name: item.value.decode() for (_, name), item in self.client.machine.held.items()}

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = await Server().start()
    yield found
    await found.stop()


@pytest.fixture
async def sidecar(server: Server) -> AsyncIterator[Sidecar]:
    found = Sidecar(server.address)
    yield found
    await found.stop()


def resource(type_url: str, name: str, content: str = "1") -> Resource:
    return Resource(type_url, name, content.encode())


async def test_a_change_reaches_the_sidecar_and_its_acknowledgement_the_server(server, sidecar):
    server.publish(resource(RULE, "r", "1"))
    await sidecar.update()
    server.publish(resource(RULE, "r", "2"), resource(LISTENER, "l"))
    update = await sidecar.update()
    assert {name for _, name in update.changed} == {"r", "l"}
    assert (await server.verdict_on(LISTENER, "l")).refused is None
    states = {state.name: state.state for state in resource_states(server.hub, server.hub.nodes["shop-1"])}
    assert states == {"r": State.ACKED, "l": State.ACKED}


async def test_a_refusal_names_the_resource_field_and_reason_and_spares_the_others(server, sidecar):
    sidecar.refuse["bad"] = "the address is in use"
    server.publish(resource(LISTENER, "good"), resource(LISTENER, "bad"))
    verdict = await server.verdict_on(LISTENER, "bad")
    assert (verdict.refused["bad"].field, verdict.refused["bad"].reason) == ("spec", "the address is in use")
    states = {state.name: (state.state, state.reason) for state in resource_states(server.hub, server.hub.nodes["shop-1"])}
    assert states == {"good": (State.ACKED, ""), "bad": (State.NACKED, "the address is in use")}
    assert sidecar.held() == {"good": "1"}


async def test_a_refresh_corrects_the_status(server, sidecar):
    sidecar.refuse["l"] = "the address is in use"
    server.publish(resource(LISTENER, "l"))
    await server.verdict_on(LISTENER, "l")
    sidecar.refuse.clear()
    sidecar.client.refresh(LISTENER, ["l"])
    assert (await server.verdict_on(LISTENER, "l")).refused is None
    (state,) = resource_states(server.hub, server.hub.nodes["shop-1"])
    assert state.state is State.ACKED


async def test_after_a_restart_of_the_server_only_differences_travel(server, sidecar):
    server.publish(resource(RULE, "same"), resource(RULE, "gone"))
    await sidecar.update()
    await server.stop()
    server.publish(resource(RULE, "same"), resource(RULE, "new"))
    assert sidecar.held() == {"same": "1", "gone": "1"}
    await server.start()
    update = await sidecar.update()
    assert ([name for _, name in update.changed], [name for _, name in update.removed]) == (["new"], ["gone"])
    assert sidecar.held() == {"same": "1", "new": "1"}


async def test_the_next_control_plane_is_tried_when_the_first_is_away(server):
    nobody = Server()
    await nobody.start()
    await nobody.stop()
    server.publish(resource(RULE, "r"))
    sidecar = Sidecar(nobody.address, server.address)
    await sidecar.update()
    while (target := await sidecar.connected_to()) is None:
        pass
    assert target == server.address
    await sidecar.stop()


async def test_a_node_that_is_gone_is_remembered_with_what_it_had(server, sidecar):
    server.publish(resource(RULE, "r"))
    await server.verdict_on(RULE, "r")
    connection = server.hub.nodes["shop-1"]
    await sidecar.stop()
    await server.stop()
    server.publish(resource(RULE, "r", "2"))
    (state,) = resource_states(server.hub, server.hub.nodes["shop-1"])
    assert (connection.open, state.state) == (False, State.STALE)


async def test_a_configuration_beyond_4_mib_arrives_whole(server, sidecar):
    server.publish(*(Resource(RULE, f"r{number}", bytes(100_000)) for number in range(100)))
    update = await sidecar.update()
    if not update.changed:
        update = await sidecar.update()
    assert len(update.changed) == 100


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"),
        ("envoy.service.cluster.v3.ClusterDiscoveryService", "StreamClusters"),
    ],
)
async def test_state_of_the_world_is_served_aggregated_and_by_type(server, service, method):
    server.publish(resource(CLUSTER, "c"))
    request = message("envoy.service.discovery.v3.DiscoveryRequest")
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=message("envoy.service.discovery.v3.DiscoveryResponse").FromString,
        )()
        await call.write(request(node={"id": "envoy"}, type_url=CLUSTER if "Aggregated" in method else ""))
        response = await asyncio.wait_for(call.read(), WITHIN_S)
        assert (response.type_url, [item.value for item in response.resources]) == (CLUSTER, [b"1"])
        await call.write(request(type_url=CLUSTER, response_nonce=response.nonce, version_info=response.version_info))
        assert (await server.verdict_on(CLUSTER, "c")).refused is None
        call.cancel()


async def test_a_client_that_breaks_the_protocol_is_told_how(server):
    request = message("envoy.service.discovery.v3.DiscoveryRequest")
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
            request_serializer=request.SerializeToString,
            response_deserializer=message("envoy.service.discovery.v3.DiscoveryResponse").FromString,
        )()
        await call.write(request(type_url=LISTENER))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.wait_for(call.read(), WITHIN_S)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "this service carries" in error.value.details()


async def test_two_servers_on_one_address_are_an_error(server):
    with pytest.raises(AddressInUse, match="is another control plane running there"):
        await listen(Hub(), server.address)


async def test_a_sidecar_that_fails_to_apply_says_so_and_goes_on(server):
    async def broken(update: Update) -> list[Refused]:
        raise ValueError("a defect")

    client = AdsClient([server.address], "shop-1", TYPES, broken)
    task = asyncio.create_task(client.run())
    server.publish(resource(RULE, "r"))
    verdict = await server.verdict_on(RULE, "r")
    assert "failed to apply it (ValueError: a defect)" in verdict.refused["r"].reason
    assert not task.done()
    task.cancel()


async def test_client_status_of_all_sidecars_and_of_one(server, sidecar):
    sidecar.refuse["bad"] = "the address is in use"
    server.publish(resource(RULE, "r"), resource(LISTENER, "bad"), resource(SECRET, "s"))
    await server.verdict_on(LISTENER, "bad")
    request = message("envoy.service.status.v3.ClientStatusRequest")
    async with grpc.aio.insecure_channel(server.address) as channel:
        fetch = channel.unary_unary(
            "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
            request_serializer=request.SerializeToString,
            response_deserializer=message("envoy.service.status.v3.ClientStatusResponse").FromString,
        )
        (config,) = (await fetch(request())).config
        nobody = await fetch(request(node_matchers=[{"node_id": {"exact": "shop-2"}}]))
    states = enum_values("envoy.service.status.v3.ConfigStatus")
    assert {row.name: row.config_status for row in config.generic_xds_configs} == {"r": states["SYNCED"], "bad": states["ERROR"]}
    assert {row.name: row.error_state.details for row in config.generic_xds_configs}["bad"] == "spec: the address is in use"
    assert config.node.id == "shop-1"
    assert not nobody.config
