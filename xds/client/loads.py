"""Load reports of a client (LRS, `envoy.service.load_stats.v3`): what its traffic did, counted since the report before.

The server says how often it wants them, and may change its mind; until it says so, nothing is counted and nothing wakes up.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import grpc
from google.protobuf.message import Message

from xds.messages import message

METHOD = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"

# However often a server wants reports: each costs a reading of all counters, about a millisecond.
MIN_INTERVAL_S = 0.1

# The names wanted (None: all) to an envoy.config.endpoint.v3.ClusterStats for each that has any, of the time since it was asked before.
Count = Callable[[set[str] | None], Iterable[Message]]


class LoadReports:
    """`count` is asked once when reporting begins, so that the first report is of an interval and not of all time."""

    def __init__(self, node: Message, count: Count) -> None:
        self._node = node
        self._count = count

    async def send(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        """Until cancelled, or until the server is gone or turns out not to want load reports."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            call = channel.stream_stream(
                METHOD,
                request_serializer=message("envoy.service.load_stats.v3.LoadStatsRequest").SerializeToString,
                response_deserializer=message("envoy.service.load_stats.v3.LoadStatsResponse").FromString,
            )(metadata=metadata)
            await call.write(message("envoy.service.load_stats.v3.LoadStatsRequest")(node=self._node))
            wanted = await call.read()
            while wanted is not grpc.aio.EOF:
                wanted = await self._report(call, wanted)

    async def _report(self, call, wanted: Message) -> Message:
        """As the server wants it, until it wants something else, which is returned."""
        names = None if wanted.send_all_clusters else set(wanted.clusters)
        every = max(MIN_INTERVAL_S, wanted.load_reporting_interval.ToTimedelta().total_seconds())
        reading = asyncio.ensure_future(call.read())
        clock = asyncio.get_running_loop().time
        try:
            list(self._count(names))
            since = clock()
            while not (await asyncio.wait({reading}, timeout=every))[0]:
                request = message("envoy.service.load_stats.v3.LoadStatsRequest")()
                since, elapsed = clock(), clock() - since
                for stats in self._count(names):
                    stats.load_report_interval.FromNanoseconds(int(elapsed * 1e9))
                    request.cluster_stats.append(stats)
                await call.write(request)
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
