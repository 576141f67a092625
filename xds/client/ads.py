"""A delta ADS client that survives its control planes.

    client = AdsClient(["127.0.0.1:18000"], node_id="shop-1", type_urls=[...], on_update=apply)
    await client.run()            # until cancelled

`on_update(update)` applies what changed and returns what it refused; the answer to the server is made of that. It is called for one update at a
time, first when the server has answered for every type. See `xds.protocol.client` for what an update is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import cycle

import grpc
import structlog

from xds.client.reports import Reports
from xds.messages import message
from xds.protocol.backoff import Backoff
from xds.protocol.client import DeltaClient, Held, Update
from xds.protocol.report import Refused

log = structlog.get_logger("xds.client")

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

# A server that does not announce the version of the whole set is taken to have finished a push after this silence.
SILENCE_S = 0.05
# Ours keep below 4 MiB; foreign servers may not, and a refused response could never be acknowledged.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel's own back-off would be added to ours
)

OnUpdate = Callable[[Update], Awaitable[list[Refused]]]
OnConnection = Callable[[str | None], None]  # the control plane's address, or None when it is lost


class AdsClient:
    """`targets` are tried in turn, starting again from the first after each loss."""

    def __init__(
        self,
        targets: Sequence[str],
        node_id: str,
        type_urls: Iterable[str],
        on_update: OnUpdate,
        *,
        held: Iterable[Held] = (),
        on_connection: OnConnection = lambda target: None,
        reports: Reports | None = None,
    ):
        node = message("envoy.config.core.v3.Node")(id=node_id, user_agent_name="midstream")
        self.machine = DeltaClient(node, type_urls, held)
        self._targets = tuple(targets)
        self._on_update = on_update
        self._on_connection = on_connection
        self._reports = reports
        self._backoff = Backoff()
        self._answered = False  # on the current stream
        self._refreshes: asyncio.Queue = asyncio.Queue()

    async def run(self) -> None:
        """Keep a stream open until cancelled. What is held stays in force while there is none (C2)."""
        targets = cycle(self._targets)
        said = ""
        while True:
            target = next(targets)
            self._answered = False
            reason = "it ended the stream"
            try:
                await self._stream(target)
            except grpc.aio.AioRpcError as error:
                reason = error.details() or error.code().name
            except asyncio.InvalidStateError as error:
                reason = str(error)  # the stream ended while we were writing to it
            finally:
                self.machine.disconnected()
                self._on_connection(None)
            if self._answered:
                self._backoff.reset()
                targets = cycle(self._targets)
            if self._answered or target != said:
                said = target
                log.warning("control plane lost" if self._answered else "control plane cannot be reached", target=target, reason=reason)
            await asyncio.sleep(self._backoff.next_delay_s())

    def refresh(self, type_url: str, names: Iterable[str]) -> None:
        """Have resources sent and judged again; without a stream this happens by itself at the next one."""
        self._refreshes.put_nowait((type_url, list(names)))

    async def _stream(self, target: str) -> None:
        """One stream from its first request to its end."""
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            call = channel.stream_stream(
                METHOD,
                request_serializer=message("envoy.service.discovery.v3.DeltaDiscoveryRequest").SerializeToString,
                response_deserializer=message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString,
            )()
            for request in self.machine.connected():
                await call.write(request)
            beside = [asyncio.create_task(self._send_refreshes(call))]
            if self._reports is not None:
                beside.append(asyncio.create_task(self._reports.send(channel)))
            try:
                await self._read(call, target)
            finally:
                for task in beside:
                    task.cancel()

    async def _read(self, call, target: str) -> None:
        reading = asyncio.ensure_future(call.read())
        try:
            while True:
                # A read is never cancelled for a timeout: that would cancel the stream.
                done, _ = await asyncio.wait({reading}, timeout=SILENCE_S if self.machine.waiting else None)
                if done:
                    response = reading.result()
                    if response is grpc.aio.EOF:
                        return
                    if not self._answered:
                        self._answered = True
                        self._on_connection(target)
                    self.machine.receive(response)
                    reading = asyncio.ensure_future(call.read())
                await self._apply(call, force=not done)
        finally:
            reading.cancel()

    async def _apply(self, call, *, force: bool) -> None:
        update = self.machine.take(force=force)
        if update is None:
            return
        refusals = await self._judge(update) if update else []
        for request in self.machine.applied(update, refusals):
            await call.write(request)

    async def _judge(self, update: Update) -> list[Refused]:
        """A defect of the caller must not take a sidecar from its last good configuration: it refuses the update, and says so."""
        try:
            return await self._on_update(update)
        except Exception as error:
            log.exception("an update could not be applied")
            reason = f"this sidecar failed to apply it ({type(error).__name__}: {error}); see its log"
            return [Refused(item.type_url, item.name, item.version, "", reason) for item in update.changed.values()]

    async def _send_refreshes(self, call) -> None:
        """A stream that breaks here is noticed by its reader, and the next one brings what was refused again."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                type_url, names = await self._refreshes.get()
                await call.write(self.machine.refresh(type_url, names))
