"""Whose turn it is to be written to.

A change concerns thousands of streams at once, and so does a control plane's return. Streams that may owe something wait in one line and get
their turns a few per turn of the event loop: what else it has to do (requests, acknowledgements, the REST API) never waits for all of them, and a
stream that changes again while it waits is written to once.

Streams that have been given nothing yet are let in a few at a time, behind all others: each costs a whole configuration in memory until it is sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from xds.protocol.stream import ServerStream
from xds.server.alarms import Alarms

# Writes that are begun in one turn of the event loop; one takes some 50 us.
WRITES_PER_TURN = 32
# First answers that are being sent at a time. One of 1,000 resources is some 200 KiB.
MAX_FIRST = 64
# A client that takes its first answer slowly does not hold up others for longer.
FIRST_WITHIN_S = 2.0


class Wake:
    """`set` it when a stream may owe something, or is to end. Without a writer nobody listens."""

    __slots__ = ("ring",)

    def __init__(self) -> None:
        self.ring: Callable[[], None] = _nobody

    def set(self) -> None:
        self.ring()


def _nobody() -> None:
    pass


class Turns:
    """Of one hub."""

    def __init__(self) -> None:
        self._ready: deque[Writer] = deque()
        self._fresh: deque[Writer] = deque()
        self._first: set[Writer] = set()
        self._tasks: set[asyncio.Task] = set()
        self._scheduled = False

    def add(self, writer: "Writer") -> None:
        (self._fresh if writer.is_first else self._ready).append(writer)
        self._schedule()

    def done(self, writer: "Writer") -> None:
        """It has been given its first answer, or is not worth waiting for."""
        if writer in self._first:
            self._first.discard(writer)
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._has_more():
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _has_more(self) -> bool:
        return bool(self._ready or (self._fresh and len(self._first) < MAX_FIRST))

    def _turn(self) -> None:
        self._scheduled = False
        for _ in range(WRITES_PER_TURN):
            if not self._has_more():
                return
            if self._ready:
                writer = self._ready.popleft()
            else:
                writer = self._fresh.popleft()
                self._first.add(writer)
                asyncio.get_running_loop().call_later(FIRST_WITHIN_S, self.done, writer)
            task = asyncio.get_running_loop().create_task(writer.write())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._schedule()


class Writer:
    """Writes what a stream owes. Between turns it costs no task: an idle stream has only its reader."""

    __slots__ = ("__weakref__", "_alarms", "_context", "_end", "_is_open", "_queued", "_stream", "_timer", "_turns", "failure", "is_first")

    def __init__(self, turns: Turns, stream: ServerStream, context, alarms: Alarms, is_open: Callable[[], bool], end: Callable[[], object]) -> None:
        self._turns, self._stream, self._context = turns, stream, context
        self._is_open, self._end = is_open, end
        self._alarms = alarms
        self._timer: asyncio.TimerHandle | None = None
        self._queued = False
        self.is_first = True
        self.failure: Exception | None = None  # of ours; the stream has been ended for it

    def ring(self) -> None:
        if not self._is_open():
            self._end()
        elif not self._queued:
            self._queued = True
            self._turns.add(self)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._queued = True  # for good
        self._end = _nobody
        self._turns.done(self)

    async def write(self) -> None:
        """One turn: all that is owed now. What is rung for meanwhile is part of it."""
        try:
            self._alarms.ring(asyncio.get_running_loop().time())
            while self._is_open() and (frame := self._stream.poll()) is not None:
                await self._context.write(frame)
                self.is_first = False
            self._queued = False
            self._set_timer()
        except (asyncio.CancelledError, grpc.aio.BaseError):
            pass  # the client went away; its reader learns of it
        except Exception as error:
            self.failure = error
            self._end()
        finally:
            self._turns.done(self)

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        at = self._alarms.next(loop.time())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else loop.call_at(at, self.ring)
