"""Start the gRPC server of a hub."""

import asyncio
from dataclasses import dataclass

import grpc

from xds.server.errors import AddressInUse
from xds.server.hub import MAX_STREAMS, Hub
from xds.server.service import handlers
from xds.server.tls import Tls, credentials

# On reconnect a client lists every name and version it holds: 100,000 of them at 200 bytes, and some room (D8).
MAX_REQUEST_BYTES = 32 * 1024 * 1024
# A half-open connection is found after one interval and one timeout: nobody waits for that, and 5,000 idle sidecars cost 40 pings a second.
KEEPALIVE_MS = 120_000
KEEPALIVE_TIMEOUT_MS = 20_000
# A token that was taken back and a certificate that has expired end their streams within this.
RECHECK_EVERY_S = 1.0

# After about this long (gRPC varies it by a tenth) a stream ends and its client comes again, to any of several control planes: so one that was
# away gets its share back. What comes again costs a request per type and one answer.
MAX_AGE_MS = 30 * 60 * 1000
MAX_AGE_GRACE_MS = 1000

# gRPC keeps buffers of that size for every connection over TLS: with its default of 16 KiB a sidecar takes 20 KiB more.
TLS_FRAME_BYTES = 4096
# Calls that wait for their turn to be served at all: of more than 1,000, or after 30 seconds, gRPC would cancel some, and they would only come again.
MAX_PENDING_CALLS = MAX_STREAMS
MAX_PENDING_S = 300

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_age_ms", MAX_AGE_MS),
    ("grpc.max_connection_age_grace_ms", MAX_AGE_GRACE_MS),
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ("grpc.tsi.max_frame_size", TLS_FRAME_BYTES),
    ("grpc.server_max_unrequested_time_in_server", MAX_PENDING_S),
    ("grpc.so_reuseport", 0),  # two control planes on one address are an error, not a lottery
)


@dataclass(slots=True)
class GrpcServer:
    server: grpc.aio.Server
    hub: Hub
    port: int
    rechecking: asyncio.Task

    async def stop(self, grace_s: float = 0.2) -> None:
        """Streams have nothing to finish: clients keep what they hold and dial again."""
        self.rechecking.cancel()
        self.hub.end_all()
        await self.server.stop(grace_s)


async def listen(hub: Hub, address: str, tls: Tls | None = None) -> GrpcServer:
    """Serve on "host:port" (port 0: any free one). Raises AddressInUse, ValueError of wrong certificates."""
    secure = None if tls is None else credentials(tls)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(handlers(hub))
    try:
        port = server.add_insecure_port(address) if secure is None else server.add_secure_port(address, secure)
    except RuntimeError as error:
        raise AddressInUse(f"cannot listen for sidecars on {address}; is another control plane running there? ({error})") from error
    await server.start()
    return GrpcServer(server, hub, port, asyncio.create_task(_recheck(hub)))


async def _recheck(hub: Hub) -> None:
    while True:
        await asyncio.sleep(RECHECK_EVERY_S)
        hub.recheck()
