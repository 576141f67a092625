"""An xDS client that is not ours: it takes a response as a whole, or refuses it as a whole and does not say which resource it means."""

import asyncio
from contextlib import suppress

import grpc

from xds.messages import message

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class Refusing:
    """Wants all of one type; refuses what has a name with "bad" in it that has no "mended" in its contents."""

    def __init__(self, address: str, type_url: str, variant: str, node: str = "foreign-1"):
        self.held: dict[str, bytes] = {}
        self.refusals = 0
        self._address, self._url, self._node = address, type_url, node
        self._delta = variant == "delta"
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> "Refusing":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        prefix = "envoy.service.discovery.v3." + ("Delta" if self._delta else "")
        request, response = message(prefix + "DiscoveryRequest"), message(prefix + "DiscoveryResponse")
        async with grpc.aio.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
            call = channel.stream_stream(_SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString)()
            await call.write(request(type_url=self._url, node={"id": self._node, "user_agent_name": "foreign", "user_agent_version": "1"}))
            while (given := await call.read()) is not grpc.aio.EOF:
                error = self._take(given)
                await call.write(request(type_url=self._url, response_nonce=given.nonce, error_detail=error))

    def _take(self, given) -> dict | None:
        found = {}
        for item in given.resources:
            value = item.resource.value if self._delta else item.value
            found[message(self._url.rpartition("/")[2]).FromString(value).name] = value
        if any("bad" in name and b"mended" not in value for name, value in found.items()):
            self.refusals += 1
            return {"code": 3, "message": "something of it is wrong"}
        self.held |= found
        for name in given.removed_resources if self._delta else ():
            self.held.pop(name, None)
        return None
