"""Free TCP ports on loopback that stay free until their server binds them.

Two things make "pick a free port, then start the server" safe: ports come from below the range from which the kernel
takes the ports of outgoing connections, and each one handed out is held by a UDP socket on the same number, which
other labs on this machine see and which vanishes with this process.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

from .errors import LabError

LOOPBACK = "127.0.0.1"
FIRST, LAST = 20000, 32000  # Linux gives outgoing connections 32768 and up, macOS 49152 and up
ATTEMPTS = 2000

_lock = threading.Lock()
_held: dict[int, socket.socket] = {}


def free() -> int:
    """One port."""
    return free_range(1)[0]


def free_range(count: int) -> range:
    """`count` contiguous ports. LabError when the machine has none."""
    with _lock:
        for _ in range(ATTEMPTS):
            start = random.randrange(FIRST, LAST - count)
            if _hold(range(start, start + count)):
                return range(start, start + count)
    raise LabError(f"no {count} contiguous free ports between {FIRST} and {LAST} on {LOOPBACK}")


def prefer(port: int) -> int:
    """`port` itself when it is free now, else another: for addresses that people know by heart."""
    with _lock:
        if _hold(range(port, port + 1)):
            return port
    return free()


def prefer_range(start: int, count: int) -> range:
    """The range from `start` when it is free now, else another one of the same length."""
    with _lock:
        if _hold(range(start, start + count)):
            return range(start, start + count)
    return free_range(count)


@contextlib.contextmanager
def occupied() -> Iterator[int]:
    """A port on which somebody listens already: this process, inside the block."""
    port = free()
    with socket.create_server((LOOPBACK, port)):
        yield port
    give_back(port)


def give_back(port: int) -> None:
    """Ends the reservation of a port whose server is gone for good."""
    with _lock:
        held = _held.pop(port, None)
        if held is not None:
            held.close()


def _hold(wanted: range) -> bool:
    taken: dict[int, socket.socket] = {}
    for port in wanted:
        holder = None if port in _held else _try_hold(port)
        if holder is None:
            for other in taken.values():
                other.close()
            return False
        taken[port] = holder
    _held.update(taken)
    return True


def _try_hold(port: int) -> socket.socket | None:
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.bind((LOOPBACK, port))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
            probe.bind((LOOPBACK, port))
            probe.listen(1)
    except OSError:
        holder.close()
        return None
    return holder
