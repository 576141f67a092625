"""What clients report of their traffic: the Load Reporting Service (LRS), and the last minute or two of it.

Nobody reports unless somebody wants to know (`Loads.wanted`): 5,000 sidecars that report all the time cost more than 5,000 that are idle. A report
is of an interval; kept are the sums that decide about a rollout, for `WINDOW_S` and `MAX_SAMPLES` at most.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message

from xds.messages import message
from xds.server.gate import Denied, Peer, admitted

if TYPE_CHECKING:
    from xds.server.hub import Hub

_SERVICE = "envoy.service.load_stats.v3.LoadReportingService"

# While somebody wants to know.
REPORT_EVERY_S = 0.5
# However many there are, no more reports than this come in; one costs 0.1 ms.
REPORTS_PER_S = 1000
# While nobody does; the protocol has no word for never.
IDLE_EVERY_S = 3600.0

WINDOW_S = 120.0
MAX_SAMPLES = 240  # of a node, at REPORT_EVERY_S for WINDOW_S
# Entries of one report that are looked at: ten times the listeners of the largest sidecar we aim at.
MAX_ENTRIES = 1000
MAX_SIGNALS = 64  # of one entry

Name = tuple[str, str]  # cluster, service name; of our sidecars: back end, listener


@dataclass(slots=True)
class Load:
    """Requests of one cluster, errors and refusals among them; `seconds` of the `timed` ones; signals by their names."""

    requests: float = 0
    errors: float = 0
    refusals: float = 0
    seconds: float = 0
    timed: float = 0
    signals: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Load") -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.refusals += other.refusals
        self.seconds += other.seconds
        self.timed += other.timed
        for name, value in other.signals.items():
            self.signals[name] = self.signals.get(name, 0) + value


@dataclass(frozen=True, slots=True)
class Sample:
    """One report. `began` and `ended` by the clock of `time.monotonic`."""

    began: float
    ended: float
    loads: dict[Name, Load]


class Loads:
    """Of all nodes that report."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._streams: set[asyncio.Event] = set()
        self._wanting = 0

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """While this lasts, everybody reports."""
        self._want(1)
        try:
            yield
        finally:
            self._want(-1)

    def samples(self, node: str) -> list[Sample]:
        """The latest of a node, oldest first."""
        return list(self._samples.get(node, ()))

    def reports(self, node: str) -> bool:
        """It has told something, if only that there is nothing."""
        return node in self._samples

    def told(self, node: str, request: Message) -> None:
        now = time.monotonic()
        loads: dict[Name, Load] = {}
        began = now if request.cluster_stats else now - REPORT_EVERY_S
        for stats in request.cluster_stats[:MAX_ENTRIES]:
            began = min(began, now - stats.load_report_interval.ToTimedelta().total_seconds())
            loads.setdefault((stats.cluster_name, stats.cluster_service_name), Load()).add(_load(stats))
        samples = self._samples.setdefault(node, deque(maxlen=MAX_SAMPLES))
        samples.append(Sample(began, now, loads))
        while samples[0].ended < now - WINDOW_S:
            samples.popleft()

    async def serve(self, who: Peer, requests: AsyncIterator, context: grpc.aio.ServicerContext) -> None:
        """One stream, to its end. Raises Denied."""
        changed = asyncio.Event()
        changed.set()
        self._streams.add(changed)
        node, first = "", True
        asking = asyncio.create_task(self._ask(changed, context))
        try:
            async for request in requests:
                if first:
                    who.require(request.node)
                    node = request.node.id
                elif node:
                    self.told(node, request)
                first = False
        finally:
            self._streams.discard(changed)
            self._samples.pop(node, None)
            asking.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.InternalError):
                await asking

    async def _ask(self, changed: asyncio.Event, context: grpc.aio.ServicerContext) -> None:
        asked = False
        while True:
            await changed.wait()
            changed.clear()
            if asked != bool(self._wanting):
                asked = bool(self._wanting)
                response = message("envoy.service.load_stats.v3.LoadStatsResponse")(send_all_clusters=asked)
                every = max(REPORT_EVERY_S, len(self._streams) / REPORTS_PER_S) if asked else IDLE_EVERY_S
                response.load_reporting_interval.FromNanoseconds(int(every * 1e9))
                await context.write(response)

    def _want(self, more: int) -> None:
        self._wanting += more
        for changed in self._streams:
            changed.set()


def handler(hub: "Hub") -> grpc.GenericRpcHandler:
    async def serve(requests: AsyncIterator, context: grpc.aio.ServicerContext) -> None:
        who = await admitted(hub.gate, context)
        try:
            await hub.loads.serve(who, requests, context)
        except Denied as denied:
            await context.abort(denied.status, str(denied))

    decode = message("envoy.service.load_stats.v3.LoadStatsRequest").FromString
    encode = message("envoy.service.load_stats.v3.LoadStatsResponse").SerializeToString
    methods = {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(serve, decode, encode)}
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def _load(stats: Message) -> Load:
    found = Load(refusals=stats.total_dropped_requests)
    for traffic in stats.upstream_locality_stats:
        found.requests += traffic.total_issued_requests or traffic.total_successful_requests + traffic.total_error_requests
        found.errors += traffic.total_error_requests
        for metric in traffic.load_metric_stats[:MAX_SIGNALS]:
            if metric.metric_name == "request_seconds":
                found.seconds += metric.total_metric_value
                found.timed += metric.num_requests_finished_with_metric
            else:
                found.signals[metric.metric_name] = found.signals.get(metric.metric_name, 0) + metric.total_metric_value
    return found
