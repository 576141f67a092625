"""What a sidecar tells its control plane of itself, beside the stream that brings its configuration."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc
from google.protobuf.message import Message

from xds.messages import message

METHOD = "/midstream.status.v1.Reports/Tell"

# Somebody waits for what is told: a stage of a migration takes as long.
TELL_EVERY_S = 0.1


class Reports:
    """`make` gives the report of this moment. Nothing is sent, and nothing wakes up, until something is `wanted`."""

    def __init__(self, make: Callable[[], Message]) -> None:
        self._make = make
        self._wanted = asyncio.Event()

    def want(self, wanted: bool) -> None:
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def send(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        """Until cancelled, or until the control plane is gone or turns out to be none of ours."""
        await self._wanted.wait()
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            call = channel.stream_unary(
                METHOD,
                request_serializer=message("midstream.status.v1.Report").SerializeToString,
                response_deserializer=message("midstream.status.v1.Reported").FromString,
            )(metadata=metadata)
            while True:
                await self._wanted.wait()
                await call.write(self._make())
                await asyncio.sleep(TELL_EVERY_S)
