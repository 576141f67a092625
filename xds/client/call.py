"""One ADS call of a client, in either variant, and the question whether a server would answer one."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
from google.protobuf.message import Message

from xds.client.credentials import Credentials, Unusable
from xds.messages import message
from xds.protocol.client import Client

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_MESSAGES = "envoy.service.discovery.v3."

# See `AdsClient`: what a server that announces nothing is given to finish a push.
SILENCE_S = 0.05
# A server that is to be returned to has to answer a first request within this.
ANSWER_WITHIN_S = 5.0
# A server that does not know a method says so as soon as it is called.
SAYS_SO_WITHIN_S = 2.0
# Ours keep below 4 MiB; foreign servers may not, and a refused response could never be acknowledged.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel's own back-off would be added to ours
)


class Ended(Exception):
    """The stream has ended; the text says why."""


class Unimplemented(Exception):
    """The server does not know this variant."""


class Unclear(Ended):
    """A request could not be written, which gRPC reports instead of the status that the server sent meanwhile."""


class Call:
    """A stream of requests and responses. Its methods raise Ended, Unimplemented."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], call):
        self.channel, self.metadata = channel, metadata  # for what is said beside the stream
        self._call = call

    async def write(self, requests: Iterable[Message]) -> None:
        try:
            for request in requests:
                await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL:
                raise Unclear("it ended the stream") from error
            raise _meaning(error) from error
        except asyncio.InvalidStateError as error:
            raise await self._end(str(error)) from error

    async def read(self) -> Message:
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _meaning(error) from error
        if response is grpc.aio.EOF:
            raise await self._end("it ended the stream")
        return response

    async def _end(self, reason: str) -> Exception:
        """A call that was over before we wrote says why by its status."""
        if not self._call.done():
            return Ended(reason)
        if await self._call.code() is grpc.StatusCode.UNIMPLEMENTED:
            return Unimplemented()
        return Ended(await self._call.details() or reason)


@asynccontextmanager
async def opened(target: str, credentials: Credentials, *, delta: bool) -> AsyncIterator[Call]:
    """A call to one server, on a channel of its own. Raises Ended where the credentials cannot be read."""
    method, prefix = ("DeltaAggregatedResources", "Delta") if delta else ("StreamAggregatedResources", "")
    try:
        channel, metadata = credentials.channel(target, _OPTIONS), credentials.metadata()
    except Unusable as error:
        raise Ended(str(error)) from error
    async with channel:
        start = channel.stream_stream(
            _SERVICE + method,
            request_serializer=message(f"{_MESSAGES}{prefix}DiscoveryRequest").SerializeToString,
            response_deserializer=message(f"{_MESSAGES}{prefix}DiscoveryResponse").FromString,
        )
        yield Call(channel, metadata, start(metadata=metadata))


async def answers(target: str, credentials: Credentials, client: Client) -> bool:
    """Whether a server answers the first request of a client; an accepted connection alone says little. The answer itself is not used."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), opened(target, credentials, delta=True) as call:
            await call.write([_first(client)])
            await call.read()
    except Unimplemented:
        return True
    except Unclear:
        return await _does_not_know_delta(target, credentials, client)
    except (Ended, TimeoutError):
        return False
    return True


async def why_ended(target: str, credentials: Credentials, client: Client) -> str:
    """Why a server ends a client's calls; empty where it does not. Raises Unimplemented.

    Asked without a word, so that nothing can hide the status: who refuses everybody, or does not know the method, says so at once, who knows it
    waits for a request. Then asked with the one request that says who we are.
    """
    try:
        async with opened(target, credentials, delta=True) as call:
            answer = asyncio.ensure_future(call.read())
            try:
                if not (await asyncio.wait([answer], timeout=SAYS_SO_WITHIN_S))[0]:
                    await call.write([_first(client)])
                    await asyncio.wait([answer], timeout=SAYS_SO_WITHIN_S)
                if answer.done():
                    answer.result()
            finally:
                answer.cancel()
                await asyncio.gather(answer, return_exceptions=True)
    except Ended as error:
        return str(error)
    return ""


async def _does_not_know_delta(target: str, credentials: Credentials, client: Client) -> bool:
    try:
        await why_ended(target, credentials, client)
    except Unimplemented:
        return True
    return False


def _first(client: Client) -> Message:
    return message(f"{_MESSAGES}DeltaDiscoveryRequest")(node=client.node, type_url=client.type_urls[0])


def _meaning(error: grpc.aio.AioRpcError) -> Exception:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Unimplemented()
    return Ended(error.details() or error.code().name)
