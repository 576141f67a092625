"""A client as a scenario plays it: it says exactly what it is told to, over real gRPC."""

from __future__ import annotations

import asyncio

import grpc

from tests.conformance.xds.things import SERVICES, Heard
from xds.messages import message
from xds.protocol.types import SECRET

WITHIN_S = 10
NODE = "shop-1"


class Peer:
    """Both variants by one set of verbs. `names` are the explicit ones of each type, `heard` the responses in order."""

    def __init__(self, address: str, variant: str, features: list[str]):
        self.address, self.variant, self.features = address, variant, features
        self.heard: list[Heard] = []
        self.names: dict[str, list[str]] = {}
        self.held: dict[str, dict[str, str]] = {}  # type -> name -> version, of what it was given
        self.versions: dict[str, str] = {}
        self._nonces: dict[str, str] = {}
        self._barriers = 0
        self._channel: grpc.aio.Channel | None = None
        self._call = None
        self._service = ""

    async def connect(self, service: str = "") -> None:
        await self.cut()
        self._service = service
        name, noun = SERVICES[service]
        delta = self.variant == "delta"
        prefix = "envoy.service.discovery.v3." + ("Delta" if delta else "")
        self._channel = grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.stream_stream(
            f"/envoy.service.{name}/{'Delta' if delta else 'Stream'}{noun}",
            request_serializer=message(prefix + "DiscoveryRequest").SerializeToString,
            response_deserializer=message(prefix + "DiscoveryResponse").FromString,
        )()
        self._request = message(prefix + "DiscoveryRequest")
        self._fresh = True
        self.sent = 0  # on this stream
        self.names, self._nonces = {}, {}

    async def cut(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        self._channel = self._call = None
        self.sent = 0

    async def send(self, type_url: str, **fields) -> None:
        request = self._request(type_url=type_url, **fields)
        if self._fresh:
            request.node.id = NODE
            request.node.client_features.extend(self.features)
            self._fresh = False
        await self._call.write(request)
        self.sent += 1

    async def ask(self, type_url: str, names: list[str], *, held: dict[str, str] | None = None, version: str = "", named: bool = True) -> None:
        """The request that makes `names` the subscription; on a first request none mean all."""
        self.names[type_url] = names
        sent = type_url if named else ""
        if self.variant == "delta":
            await self.send(sent, resource_names_subscribe=names, initial_resource_versions=held or {})
        else:
            await self.send(sent, resource_names=names, version_info=version, response_nonce=self._nonces.get(type_url, ""))

    async def change(self, type_url: str, add: list[str], drop: list[str], nonce: str | None = None) -> None:
        """A change of the subscription, at the nonce of the last response unless another is given."""
        self.names[type_url] = [name for name in self.names.get(type_url, []) if name not in drop] + add
        nonce = self._nonces.get(type_url, "") if nonce is None else nonce
        if self.variant == "delta":
            await self.send(type_url, resource_names_subscribe=add, resource_names_unsubscribe=drop)
        else:
            await self.send(type_url, resource_names=self.names[type_url], response_nonce=nonce, version_info=self.versions.get(type_url, ""))

    async def answer(self, heard: Heard, *, refusal: str = "", version: str | None = None, names: list[str] | None = None) -> None:
        """ACK or NACK a response. In the state of the world the names come along."""
        url = heard.type_url
        fields = {"error_detail": {"code": 3, "message": refusal}} if refusal else {}
        if self.variant == "sotw":
            if not refusal:
                self.versions[url] = heard.response.version_info
            fields["resource_names"] = self.names.get(url, []) if names is None else names
            fields["version_info"] = self.versions.get(url, "") if version is None else version
        await self.send(url, response_nonce=heard.response.nonce, **fields)

    async def read(self) -> Heard:
        """The next response."""
        response = await asyncio.wait_for(self._call.read(), WITHIN_S)
        assert response is not grpc.aio.EOF, "the server ended the stream"
        heard = Heard(response)
        if heard.type_url != SECRET or not self._barriers:
            self.heard.append(heard)
        self._nonces[heard.type_url] = response.nonce
        held = self.held.setdefault(heard.type_url, {})
        held.update({name: version for name, version in heard.versions.items() if name not in heard.heartbeats})
        for name in heard.removed:
            held.pop(name, None)
        return heard

    async def settled(self) -> list[Heard]:
        """Everything that was due. Two questions that have no answer but "no such secret": when the first is answered the rest is queued."""
        came: list[Heard] = []
        for _ in range(2):
            self._barriers += 1
            name = f"no such secret {self._barriers}"
            await self.change(SECRET, [name], [])
            while True:
                heard = await self.read()
                if heard.type_url == SECRET and name in (*heard.removed, *heard.errors):
                    break
                came.append(heard)
        return came

    async def end(self) -> tuple[str, str]:
        """The status and text with which the server ended the stream."""
        try:
            await asyncio.wait_for(self._call.read(), WITHIN_S)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""
