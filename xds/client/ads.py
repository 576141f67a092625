"""An ADS client that survives its control planes.

    client = AdsClient(["127.0.0.1:18000"], node_id="shop-1", type_urls=[...], on_update=apply)
    await client.run()            # until cancelled

`on_update(update)` applies what changed and returns what it refused; the answer to the server is made of that. It is called for one update at a
time, first when the server has answered for every type. See `xds.protocol.client` for what an update is.

Delta is spoken where the server knows it, the state of the world elsewhere. Control planes are tried in turn; from any but the first the client
returns as soon as one before it answers (C10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import grpc
import structlog
from google.protobuf.message import Message

from xds.client.call import SILENCE_S, Ended, Unclear, Unimplemented, answers, opened, why_ended
from xds.client.credentials import NONE, Credentials
from xds.client.targets import Targets
from xds.messages import message
from xds.protocol.backoff import Backoff
from xds.protocol.client import DOES_NOT_EXIST_AFTER_S, Client, DeltaClient, Held, References, Update, refers_to_nothing
from xds.protocol.csds import client_config
from xds.protocol.report import Refused
from xds.protocol.sotw_client import SotwClient
from xds.protocol.stream import LAST_TYPE_FEATURE, TTL_FEATURE, WRAPPING_FEATURES

log = structlog.get_logger("xds.client")

OnUpdate = Callable[[Update], Awaitable[list[Refused]]]
_WHY = {True: "the credentials have changed", False: "it comes before the one that was used, and answers again"}

Metadata = tuple[tuple[str, str], ...]


class Teller(Protocol):
    """Tells a server something beside the stream that brings the configuration."""

    async def send(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        """Until cancelled, or until the server wants no more."""


Beside = Callable[[Message], Teller]  # by the node that tells


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client runs and what it is, for those who choose clients by it."""

    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


NOWHERE = Place()
OnConnection = Callable[[str | None], None]  # the control plane's address, or None when it is lost


class AdsClient:
    """`targets` as in targets.py. `named` are the types of which only what `references` say is asked for (C8)."""

    def __init__(
        self,
        targets: Sequence[str],
        node_id: str,
        type_urls: Iterable[str],
        on_update: OnUpdate,
        *,
        held: Iterable[Held] = (),
        named: Iterable[str] = (),
        references: References = refers_to_nothing,
        patience_s: float = DOES_NOT_EXIST_AFTER_S,
        on_connection: OnConnection = lambda target: None,
        beside: Iterable[Beside] = (),
        place: Place = NOWHERE,
        credentials: Credentials = NONE,
    ):
        node = message("envoy.config.core.v3.Node")(id=node_id, user_agent_name="midstream", locality={"zone": place.zone})
        for label, value in place.labels.items():
            node.metadata.fields[label].string_value = value
        types = tuple(type_urls)
        node.client_features.extend((TTL_FEATURE, *sorted(WRAPPING_FEATURES), *(() if named else (LAST_TYPE_FEATURE + types[-1],))))
        self.machine: Client = DeltaClient(node, types, held, named=named, references=references, patience_s=patience_s)
        self._targets = Targets(targets)
        self._without_delta: set[str] = set()  # targets, for good: what was accepted in one variant means nothing in the other
        self._on_update = on_update
        self._on_connection = on_connection
        self._beside = tuple(beside)
        self._credentials = credentials
        self._backoff = Backoff()
        self._answered = False  # on the current stream
        self._refreshes: asyncio.Queue = asyncio.Queue()
        self._changed = asyncio.Event()  # the machine's times may have
        self._applying = asyncio.Lock()

    async def run(self) -> None:
        """Keep a stream open until cancelled. What is held stays in force while there is none (C2)."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._drop_what_expires())
            tasks.create_task(self._follow())

    def refresh(self, type_url: str, names: Iterable[str]) -> None:
        """Have resources sent and judged again; without a stream this happens by itself at the next one."""
        self._refreshes.put_nowait((type_url, list(names)))

    def status(self) -> Message:
        """What is held, refused and missed, as an envoy.service.status.v3.ClientConfig (C12)."""
        machine = self.machine
        return client_config(machine.node, machine.held.values(), machine.refused.values(), machine.absent, machine.errors.values())

    async def _follow(self) -> None:
        said = ""
        while True:
            target = self._targets.current
            self._answered = False
            better = ""
            reason = "it ended the stream"
            try:
                better = await self._stream_or_better(target)
            except Unimplemented:
                if target not in self._without_delta:
                    self._without_delta.add(target)
                    continue
                reason = "it is no control plane"
            except Unclear as error:
                reason = str(error)
                if not self._answered and target not in self._without_delta:
                    try:
                        reason = await why_ended(target, self._credentials, self.machine) or reason
                    except Unimplemented:
                        self._without_delta.add(target)
                        continue
            except Ended as error:
                reason = str(error)
            finally:
                self.machine.disconnected()
                self._on_connection(None)
            if better:
                log.info("the control plane is spoken to anew", target=better, reason=_WHY[better == target])
                self._targets.take(better)
                continue
            if self._answered:
                self._backoff.reset()
            if self._answered or target != said:
                said = target
                log.warning("control plane lost" if self._answered else "control plane cannot be reached", target=target, reason=reason)
            self._targets.lost(answered=self._answered)
            await asyncio.sleep(self._backoff.next_delay_s())

    async def _stream_or_better(self, target: str) -> str:
        """One stream, to its end; or until a preferred server answers, or the same is to see other credentials: which one is returned.

        Raises Ended, Unimplemented.
        """
        stream = asyncio.create_task(self._stream(target))
        preferred = self._targets.preferred
        others = [asyncio.create_task(self._renewed(target)), *([asyncio.create_task(self._search(preferred))] if preferred else [])]
        try:
            await asyncio.wait([stream, *others], return_when=asyncio.FIRST_COMPLETED)
            if not stream.done():
                return next(task.result() for task in others if task.done())
            await stream
            return ""
        finally:
            for task in (stream, *others):
                task.cancel()
            await asyncio.gather(stream, *others, return_exceptions=True)

    async def _renewed(self, target: str) -> str:
        await self._credentials.change()
        return target

    async def _search(self, preferred: Sequence[str]) -> str:
        backoff = Backoff()
        while True:
            await asyncio.sleep(backoff.next_delay_s())
            for target in preferred:
                if await answers(target, self._credentials, self.machine):
                    return target

    async def _stream(self, target: str) -> None:
        """One stream from its first request to its end."""
        self._speak(DeltaClient if target not in self._without_delta else SotwClient)
        async with opened(target, self._credentials, delta=isinstance(self.machine, DeltaClient)) as call:
            await call.write(self.machine.connected(_now()))
            beside = [asyncio.create_task(self._send_refreshes(call))]
            beside += [asyncio.create_task(made(self.machine.node).send(call.channel, call.metadata)) for made in self._beside]
            try:
                await self._read(call, target)
            finally:
                for task in beside:
                    task.cancel()

    def _speak(self, variant: type[Client]) -> None:
        if not isinstance(self.machine, variant):
            old = self.machine
            options = {"named": old.named, "references": old.references, "patience_s": old.patience_s}
            self.machine = variant(old.node, old.type_urls, old.held.values(), **options)
            self.machine.expiries = old.expiries

    async def _read(self, call, target: str) -> None:
        reading = asyncio.ensure_future(call.read())
        try:
            while True:
                # A read is never cancelled for a timeout: that would cancel the stream.
                done, _ = await asyncio.wait({reading}, timeout=self._patience_s())
                if done:
                    response = reading.result()
                    if not self._answered:
                        self._answered = True
                        self._on_connection(target)
                    await call.write(self.machine.receive(response, _now()))
                    reading = asyncio.ensure_future(call.read())
                    self._changed.set()
                await call.write(self.machine.tick(_now()))
                await self._apply(call, force=not done)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _patience_s(self) -> float | None:
        """A server that does not announce the version of the whole set is taken to have finished a push after a silence."""
        if self.machine.waiting:
            return SILENCE_S
        return None if self.machine.alarm is None else max(0.0, self.machine.alarm - _now())

    async def _apply(self, call, *, force: bool) -> None:
        async with self._applying:
            update = self.machine.take(force=force)
            if update is None:
                return
            refusals = await self._judge(update) if update else []
            answers_due = self.machine.applied(update, refusals)
        await call.write(answers_due)

    async def _judge(self, update: Update) -> list[Refused]:
        """A defect of the caller must not take a sidecar from its last good configuration: it refuses the update, and says so."""
        try:
            return await self._on_update(update)
        except Exception as error:
            log.exception("an update could not be applied")
            reason = f"this sidecar failed to apply it ({type(error).__name__}: {error}); see its log"
            return [Refused(item.type_url, item.name, item.version, "", reason) for item in update.changed.values()]

    async def _drop_what_expires(self) -> None:
        """Whether there is a stream or not: a TTL is for the time when there is none (C9)."""
        while True:
            expiry = self.machine.expiry
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if expiry is None else max(0.0, expiry - _now())):
                    await self._changed.wait()
            async with self._applying:
                update = self.machine.expire(_now())
                if update is not None:
                    log.warning("not renewed in time and dropped", resources=sorted(name for _, name in update.removed))
                    await self._judge(update)
                    self.machine.applied(update, ())

    async def _send_refreshes(self, call) -> None:
        """A stream that breaks here is noticed by its reader, and the next one brings what was refused again."""
        with suppress(Ended):
            while True:
                type_url, names = await self._refreshes.get()
                await call.write([self.machine.refresh(type_url, names)])


def _now() -> float:
    return asyncio.get_running_loop().time()
