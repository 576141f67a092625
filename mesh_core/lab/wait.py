"""Waiting that ends: an attempt is repeated until it succeeds, its process dies, or its deadline passes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from .errors import LabError
from .process import Process

START_DEADLINE_S = 60.0  # a start takes 0.1 to 5 s on an idle machine; CI machines are shared
POLL_S = 0.02

T = TypeVar("T")


class Starts(Protocol):
    def start(self) -> Any: ...


class Stops(Protocol):
    def stop(self) -> Any: ...


def until(
    what: str,
    attempt: Callable[[], T],
    *,
    deadline_s: float = START_DEADLINE_S,
    process: Process | None = None,
    poll_s: float = POLL_S,
) -> T:
    """Calls `attempt` until it returns without raising, and returns what it returned.

    LabError after `deadline_s`, or at once when `process` has ended; it carries the attempt's last error and the
    tail of the process's log.
    """
    ends = time.monotonic() + deadline_s
    while True:
        try:
            return attempt()
        except Exception as error:  # whatever a half-started server answers: it is reported at the deadline
            last = error
        if process is not None and not process.alive:
            raise LabError(_report(f"{what}: {process.name} ended with {process.exit_status}", last, process)) from last
        if time.monotonic() > ends:
            raise LabError(_report(f"{what}: not within {deadline_s:g} s", last, process)) from last
        time.sleep(poll_s)


def until_true(what: str, condition: Callable[[], object], **options: Any) -> None:
    """Like `until` for a condition; what it returned last stands in the error."""

    def attempt() -> None:
        value = condition()
        if not value:
            raise LabError(f"last answer: {value!r}")

    until(what, attempt, **options)


def blocking(work: Coroutine[Any, Any, T], deadline_s: float = START_DEADLINE_S) -> T:
    """Runs a coroutine to its end from synchronous code, also below a running event loop (then in a thread)."""

    async def bounded() -> T:
        return await asyncio.wait_for(work, deadline_s)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(bounded())
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(_outcome(bounded())))
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def start_all(*servers: Starts) -> None:
    """Starts servers side by side; the first failure is raised after the others have settled."""
    _together([server.start for server in servers])


def stop_all(*servers: Stops) -> None:
    _together([server.stop for server in servers])


def _together(calls: list[Callable[[], Any]]) -> None:
    if not calls:
        return
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = [pool.submit(call) for call in calls]
    for done in pending:
        done.result()


def _outcome(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except BaseException as error:  # carried to the calling thread, raised there
        return error


def _report(headline: str, last: Exception, process: Process | None) -> str:
    text = f"{headline}\n  last error: {type(last).__name__}: {last}"
    if process is not None:
        text += f"\n  {process.log}:\n" + "\n".join(f"    {line}" for line in process.log_tail().splitlines())
    return text
