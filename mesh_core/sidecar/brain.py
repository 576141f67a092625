"""Answers the workers' upcalls, in the sidecar's asyncio loop.

The data plane queues questions and makes a descriptor readable; each question runs as a task, so a slow one (a schema to be read) holds
up nobody else. How many run at once is bounded: the worker gives each question ten seconds anyway.
"""

import asyncio
import sys
from collections.abc import Iterable

import structlog

from mesh_core._dataplane import Dataplane, Upcall
from mesh_core.registry import Registry, UpcallHandler
from xds.protocol.client import Held

log = structlog.get_logger()

# The workers bound what is parked; this bounds what the handlers hold at once.
MAX_RUNNING = 256

# An upcall waits for the GIL at most this long when another Python thread is busy: the default of 5 ms would be its p50.
SWITCH_INTERVAL_S = 0.0002


class Brain:
    """Dispatches upcalls to the families' handlers."""

    def __init__(self, dataplane: Dataplane, registry: Registry) -> None:
        self._dataplane = dataplane
        self._registry = registry
        self._handlers: dict[str, UpcallHandler | None] = {}
        self._resources: tuple[Held, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to answer; needs the running loop."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        asyncio.get_running_loop().add_reader(self._dataplane.upcall_fd(), self._take)

    def configure(self, resources: Iterable[Held]) -> None:
        """Tells the handlers what is in force."""
        self._resources = tuple(resources)
        for topic in self._registry.topics(self._resources):
            self._handler(topic)
        for handler in self._handlers.values():
            if handler is not None:
                handler.configure(self._resources)

    async def close(self) -> None:
        """Stops answering."""
        asyncio.get_running_loop().remove_reader(self._dataplane.upcall_fd())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handler in self._handlers.values():
            if handler is not None:
                await handler.close()

    def _take(self) -> None:
        for upcall in self._dataplane.take_upcalls():
            if len(self._tasks) >= MAX_RUNNING:
                self._dataplane.answer(upcall, None)
                continue
            task = asyncio.create_task(self._answer(upcall))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, upcall: Upcall) -> None:
        body = None
        try:
            handler = self._handler(upcall.topic)
            body = await handler.answer(upcall.body) if handler else None
        except Exception:
            # The session gets its family's error; what was wrong with us belongs in the log.
            log.exception("an upcall failed", topic=upcall.topic)
        finally:
            self._dataplane.answer(upcall, body)

    def _handler(self, topic: str) -> UpcallHandler | None:
        if topic not in self._handlers:
            handler = self._registry.make(topic)
            if handler is None:
                log.error("nobody answers upcalls of this topic", topic=topic)
            else:
                handler.configure(self._resources)
            self._handlers[topic] = handler
        return self._handlers[topic]
