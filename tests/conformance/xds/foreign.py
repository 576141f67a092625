"""An xDS server that is not ours: it answers what a scenario says, word for word, and writes down what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from xds.messages import message, message_of
from xds.protocol import types

WITHIN_S = 10
_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
# type -> the fields of its name and of something to tell contents apart
_FIELDS = {types.CLUSTER: ("name", "alt_stat_name"), types.LISTENER: ("name", "stat_prefix"), types.ENDPOINTS: ("cluster_name", "")}
_WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"


class Stream:
    """One stream of a client: what it said, from the first request on."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.next = 0  # the first that no sentence has asked about
        self.answered = 0  # how many `answer_all` has seen
        self.responses: asyncio.Queue = asyncio.Queue()


class LoadReporting:
    """The load reports of one client."""

    def __init__(self) -> None:
        self.node = ""
        self.heard = ""  # the latest report, as scenarios write it
        self._responses: asyncio.Queue = asyncio.Queue()

    def want(self, **fields: Any) -> None:
        self._responses.put_nowait(message("envoy.service.load_stats.v3.LoadStatsResponse")(**fields))

    def handler(self) -> grpc.GenericRpcHandler:
        prefix = "envoy.service.load_stats.v3.LoadStats"
        decode, encode = message(prefix + "Request").FromString, message(prefix + "Response").SerializeToString
        method = grpc.stream_stream_rpc_method_handler(self._serve, decode, encode)
        return grpc.method_handlers_generic_handler("envoy.service.load_stats.v3.LoadReportingService", {"StreamLoadStats": method})

    async def _serve(self, requests, context) -> None:
        reading = asyncio.ensure_future(self._read(requests))
        try:
            while True:
                await context.write(await self._responses.get())
        finally:
            reading.cancel()

    async def _read(self, requests) -> None:
        async for request in requests:
            self.node = self.node or request.node.id
            said = [(stats.cluster_name, stats.upstream_locality_stats[0].total_issued_requests) for stats in request.cluster_stats]
            self.heard = ", ".join(f"{count} requests to {name}" for name, count in said)


class Foreign:
    """Knows one variant only: the other is UNIMPLEMENTED."""

    def __init__(self, variant: str):
        self.variant = variant
        self.prefix = "envoy.service.discovery.v3." + ("Delta" if variant == "delta" else "")
        self.port = 0
        self.stream = Stream()
        self.loads = LoadReporting()
        self._heard = asyncio.Condition()
        self._nonce = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> Foreign:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        method = "DeltaAggregatedResources" if self.variant == "delta" else "StreamAggregatedResources"
        request = message(self.prefix + "DiscoveryRequest").FromString
        response = message(self.prefix + "DiscoveryResponse").SerializeToString
        handler = grpc.stream_stream_rpc_method_handler(self._serve, request, response)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {method: handler}), self.loads.handler()])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self.stream.responses.put_nowait(None)
            await self._server.stop(0)
            self._server = None

    def break_stream(self) -> None:
        self.stream.responses.put_nowait(None)
        self.stream = Stream()

    async def _serve(self, requests, context) -> None:
        stream = self.stream = Stream()
        reading = asyncio.ensure_future(self._read(stream, requests))
        try:
            while (response := await stream.responses.get()) is not None:
                await context.write(response)
        finally:
            reading.cancel()

    async def _read(self, stream: Stream, requests) -> None:
        async for request in requests:
            async with self._heard:
                stream.requests.append(request)
                self._heard.notify_all()

    async def hear(self, meant: Callable[[Any], bool], *, again: bool = False) -> Any:
        """The next request that is meant; with `again`, of all of the stream."""

        def found() -> Any:
            stream = self.stream
            for position in range(0 if again else stream.next, len(stream.requests)):
                if meant(stream.requests[position]):
                    stream.next = stream.next if again else position + 1
                    return stream.requests[position]
            return None

        async with self._heard:
            return await asyncio.wait_for(self._heard.wait_for(found), WITHIN_S)

    async def give(self, url: str, resources: list[tuple[str, str, float]], *, version: str = "1", nonce: str = "", **extra: Any) -> None:
        """`resources` are names, contents (empty: a heartbeat) and TTLs; `extra` are fields of the response."""
        await self.hear(lambda request: request.type_url == url, again=True)
        self.stream.responses.put_nowait(self.made(url, resources, version=version, nonce=nonce, **extra))

    async def answer_all(self, answer: Callable[[Any], Any]) -> None:
        """Until cancelled: whatever is asked on a stream, acknowledgements apart, is answered."""
        while True:
            request = await self._next()
            if not request.response_nonce:
                self.stream.responses.put_nowait(answer(request))

    async def _next(self) -> Any:
        async with self._heard:
            await self._heard.wait_for(lambda: self.stream.answered < len(self.stream.requests))
            self.stream.answered += 1
            return self.stream.requests[self.stream.answered - 1]

    def made(self, url: str, resources: list[tuple[str, str, float]], *, version: str = "1", nonce: str = "", **extra: Any) -> Any:
        """A response in this server's variant."""
        self._nonce += 1
        response = message(self.prefix + "DiscoveryResponse")(type_url=url, nonce=nonce or f"n{self._nonce}", **extra)
        for name, content, ttl_s in resources:
            plain = self._content(url, name, content) if content else None
            wrapped = message("envoy.service.discovery.v3.Resource")(name=name, version=version if self.variant == "sotw" else content or "1")
            if plain is not None:
                wrapped.resource.type_url, wrapped.resource.value = url, plain
            if ttl_s:
                wrapped.ttl.FromNanoseconds(int(ttl_s * 1e9))
            if self.variant == "delta":
                response.resources.append(wrapped)
            elif ttl_s:
                response.resources.add(type_url=_WRAPPER, value=wrapped.SerializeToString())
            else:
                response.resources.add(type_url=url, value=plain)
        if self.variant == "sotw":
            response.version_info = version
        return response

    def _content(self, url: str, name: str, content: str) -> bytes:
        field, other = _FIELDS.get(url, ("name", "listeners"))
        found = message_of(url)(**{field: name})
        if other == "listeners":
            found.listeners.append(content)
        elif other:
            setattr(found, other, content)
        return found.SerializeToString()


def content_of(url: str, value: bytes) -> str:
    _, other = _FIELDS.get(url, ("name", "listeners"))
    found = getattr(message_of(url).FromString(value), other, "1") if other else "1"
    return found if isinstance(found, str) else found[0]
