"""Thousands of sidecars in one process: each a TCP connection of its own with one delta ADS stream, saying what a `midstream sidecar` says.

One thread, one epoll. What a sidecar holds is checked: the version of its set is computed from what it was given, name by name, and compared with the
version that the server announces of the whole.
"""

import errno
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable

from mesh_core.compile.types import SIDECAR_TYPES
from tests.bench.xds import http2
from tests.bench.xds.peer import Held, Lost, Reader, Response
from xds.messages import message
from xds.protocol import wire
from xds.protocol.client import DeltaClient
from xds.protocol.stream import LAST_TYPE_FEATURE, TTL_FEATURE, WRAPPING_FEATURES

PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
# TCP connections being made at a time: below the kernel's limit of connections that a listener has not accepted yet.
CONNECTING_AT_A_TIME = 256
_READ_BYTES = 256 * 1024
_NOTHING = Held({})
_WANT_READ = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Sidecar:
    """One connection."""

    __slots__ = ("acked_at", "announced", "held", "index", "open", "receiver", "shaken", "socket", "synced_at")

    def __init__(self, index: int, connection: socket.socket) -> None:
        self.index = index
        self.socket = connection
        self.receiver = http2.Receiver()
        self.held = _NOTHING
        self.announced = ""  # the version of the whole set that the server named last
        self.shaken = False  # TCP, and TLS where it is asked for, are done
        self.open = True
        self.synced_at = self.acked_at = 0.0

    @property
    def is_synced(self) -> bool:
        return self.open and self.held.version == self.announced

    def holds(self, version: str) -> bool:
        return self.is_synced and self.announced == version


class Fleet:
    """`grow` it, then `run` until something is true."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self._address, self._tls = address, tls
        self._epoll = select.epoll()
        self.sidecars: dict[int, Sidecar] = {}  # by file descriptor
        self._to_connect: deque[int] = deque()
        self._connecting = 0
        self._opening = http2.opening(PATH, f"{address[0]}:{address[1]}")
        self._requests = [request.SerializeToString() for request in _first_requests()]
        self._reader = Reader()
        self.received_bytes = self.responses = 0
        self.lost: list[str] = []

    def grow(self, count: int) -> None:
        """Have that many more sidecars connect, as fast as it goes."""
        self._to_connect.extend(range(len(self.sidecars), len(self.sidecars) + count))

    def run(self, until: Callable[[], bool], within_s: float) -> float:
        """Seconds until it was true. Raises TimeoutError."""
        began = time.monotonic()
        while not until():
            while self._to_connect and self._connecting < CONNECTING_AT_A_TIME:
                self._connect(self._to_connect.popleft())
            for descriptor, events in self._epoll.poll(0.05):
                self._on_event(self.sidecars[descriptor], events)
            if time.monotonic() - began > within_s:
                raise TimeoutError
        return time.monotonic() - began

    def pump(self, seconds: float) -> None:
        """Go on for a time, whatever happens."""
        end = time.monotonic() + seconds
        self.run(lambda: time.monotonic() >= end, seconds + 60)

    @property
    def is_connecting(self) -> bool:
        return bool(self._to_connect)

    def close(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.socket.close()
        self._epoll.close()

    def _connect(self, index: int) -> None:
        raw = socket.socket()
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if raw.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            raise Lost(f"no connection to {self._address}")
        sidecar = Sidecar(index, raw)
        self._connecting += 1
        self.sidecars[raw.fileno()] = sidecar
        self._epoll.register(raw.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _on_event(self, sidecar: Sidecar, events: int) -> None:
        try:
            if not sidecar.shaken:
                self._shake_hands(sidecar)
            if sidecar.shaken and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(sidecar)
        except _WANT_READ:
            pass
        except (Lost, OSError) as error:
            self._lose(sidecar, str(error))

    def _shake_hands(self, sidecar: Sidecar) -> None:
        if self._tls is not None:
            if not isinstance(sidecar.socket, ssl.SSLSocket):
                descriptor = sidecar.socket.fileno()
                sidecar.socket = self._tls.wrap_socket(sidecar.socket, server_hostname=self._address[0], do_handshake_on_connect=False)
                self._epoll.modify(descriptor, select.EPOLLIN)
            sidecar.socket.do_handshake()
        sidecar.shaken = True
        self._connecting -= 1
        self._epoll.modify(sidecar.socket.fileno(), select.EPOLLIN)
        named = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")()
        named.node.id = f"bench-{sidecar.index}"
        # Appended to what all say alike: a field that is given twice is merged.
        first = http2.data(self._requests[0] + named.SerializeToString())
        self._send(sidecar, self._opening + first + b"".join(http2.data(request) for request in self._requests[1:]))

    def _read(self, sidecar: Sidecar) -> None:
        while True:
            chunk = sidecar.socket.recv(_READ_BYTES)
            if not chunk:
                raise Lost("the server closed the connection")
            self.received_bytes += len(chunk)
            answers = [self._take(sidecar, self._reader.read(found)) for found in sidecar.receiver.receive(chunk)]
            answers += sidecar.receiver.replies
            if answers:
                sidecar.receiver.replies.clear()
                self._send(sidecar, b"".join(answers))
            if len(chunk) < _READ_BYTES and self._tls is None:
                return

    def _take(self, sidecar: Sidecar, response: Response) -> bytes:
        """Holds what it was given, and the ACK that says so."""
        self.responses += 1
        sidecar.held = sidecar.held.after(response)
        sidecar.announced = response.version
        sidecar.acked_at = time.monotonic()
        if not sidecar.synced_at and sidecar.is_synced:
            sidecar.synced_at = sidecar.acked_at
        return http2.data(wire.field(2, response.type_url) + wire.field(6, response.nonce))

    @staticmethod
    def _send(sidecar: Sidecar, data: bytes) -> None:
        """Some hundred bytes at a time fit into a socket that the server reads."""
        if sidecar.socket.send(data) != len(data):
            raise Lost("the server does not read")

    def _lose(self, sidecar: Sidecar, reason: str) -> None:
        self.lost.append(reason)
        sidecar.open = False
        del self.sidecars[sidecar.socket.fileno()]
        sidecar.socket.close()
        self._connecting -= not sidecar.shaken
        self._to_connect.append(sidecar.index)  # with nothing, again


def _first_requests() -> list:
    """What a sidecar begins with; its name comes later."""
    node = message("envoy.config.core.v3.Node")(user_agent_name="midstream")
    node.client_features.extend((TTL_FEATURE, *sorted(WRAPPING_FEATURES), LAST_TYPE_FEATURE + SIDECAR_TYPES[-1]))
    return DeltaClient(node, SIDECAR_TYPES).connected()
