"""`midstream control`: the xDS server and the REST API in one event loop."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from mesh_core.control.access import Access
from mesh_core.control.backends import Backends
from mesh_core.control.plane import ControlPlane, Validate
from mesh_core.control.rest import app
from mesh_core.control.sidecar_access import SidecarGate
from mesh_core.model.values import HostPort
from mesh_core.registry import Registry
from xds.server.errors import AddressInUse
from xds.server.hub import Hub
from xds.server.listen import listen
from xds.server.tls import Tls
from xds.store.base import Store

log = structlog.get_logger("midstream.control")

# A thousand sidecars are a hundred thousand objects that stay: looking through them for garbage is to be rare.
GARBAGE_EVERY = (50_000, 20, 20)


@dataclass(frozen=True, slots=True)
class Serving:
    """A control plane that answers. Ports are the real ones, where 0 was asked for."""

    plane: ControlPlane
    hub: Hub
    grpc: HostPort
    rest: HostPort


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may do what (a file, see rights.py), and TLS of both servers (PEM files)."""

    access: Path | None = None
    rest_certificate: Path | None = None
    rest_key: Path | None = None
    xds: Tls | None = None

    @property
    def knows_sidecars(self) -> bool:
        """Whether anything here can tell one sidecar from another."""
        return self.access is not None or (self.xds is not None and self.xds.client_ca is not None)


OPEN = Guard()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        """Signals are ours: they end the gRPC side too."""
        yield


@contextlib.asynccontextmanager
async def serving(
    store: Store, registry: Registry, validate: Validate, grpc: HostPort, rest: HostPort, guard: Guard = OPEN
) -> AsyncIterator[Serving]:
    """Serve until the block ends. Raises Invalid and StoreFailed of the stored objects, AddressInUse, ValueError of wrong files."""
    access = Access(guard.access) if guard.access else None
    hub = Hub(gate=SidecarGate(access) if guard.knows_sidecars else None)
    backends = Backends(hub, registry)
    plane = ControlPlane(store, registry.kinds, hub, validate, backends)
    await plane.start()
    await backends.look()
    rest_socket = _bind(rest)
    try:
        server = await listen(hub, str(grpc), guard.xds)
    except (AddressInUse, ValueError):
        rest_socket.close()
        raise
    tls = {"ssl_certfile": guard.rest_certificate, "ssl_keyfile": guard.rest_key} if guard.rest_certificate else {}
    web = _Server(uvicorn.Config(app(plane, access), log_level="warning", access_log=False, lifespan="off", **tls))
    tasks = [asyncio.create_task(web.serve(sockets=[rest_socket])), *map(asyncio.create_task, (plane.run(), backends.run()))]
    try:
        yield Serving(plane, hub, HostPort(grpc.host, server.port), HostPort(rest.host, rest_socket.getsockname()[1]))
    finally:
        web.should_exit = True
        for task in tasks[1:]:
            task.cancel()
        await server.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def run(
    store: Store, registry: Registry, validate: Validate, grpc: HostPort, rest: HostPort, guard: Guard, announce: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets one line when both addresses answer. Raises as `serving`."""
    gc.set_threshold(*GARBAGE_EVERY)
    _allow_open_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(store, registry, validate, grpc, rest, guard) as found:
        revision, scheme = found.plane.contents.revision, "https" if guard.rest_certificate else "http"
        announce(f"control plane ready: xDS on {found.grpc}, REST on {scheme}://{found.rest}, revision {revision}")
        await stop.wait()


def _allow_open_files() -> None:
    """As many as this process may have: a sidecar takes one, and the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _bind(where: HostPort) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    try:
        return socket.create_server((where.host, where.port), family=family)
    except OSError as error:
        raise AddressInUse(f"cannot listen for REST on {where}: {error.strerror}; is another control plane running there?") from error
