"""The sidecar's admin address: ``/ready``, ``/metrics``, ``/config``, and its status as other xDS clients tell theirs (CSDS, over REST).

Read only, and on loopback unless told otherwise.
"""

import asyncio
import socket

import uvicorn
from google.protobuf.json_format import MessageToJson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mesh_core.sidecar.state import State
from xds.messages import message
from xds.protocol.csds import client_config


class _Quiet(uvicorn.Server):
    """The process handles its signals itself."""

    def install_signal_handlers(self) -> None:
        return

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)

    async def main_loop(self) -> None:
        # It ends by being cancelled. The default looks ten times a second whether it should, beside the workers that it takes the core from.
        while True:
            await self.on_tick(0)
            await asyncio.sleep(1)


class Admin:
    """Serves a state over HTTP in the running loop."""

    def __init__(self, state: State, host: str, port: int) -> None:
        self._state = state
        self._address = (host, port)
        routes = [Route("/ready", self._ready), Route("/metrics", self._metrics), Route("/config", self._config)]
        routes.append(Route("/v3/discovery:client_status", self._client_status, methods=["GET", "POST"]))
        config = uvicorn.Config(Starlette(routes=routes), log_level="warning", access_log=False, lifespan="off")
        self._server = _Quiet(config)
        self._socket: socket.socket | None = None

    async def bind(self) -> None:
        """Takes the address. Raises OSError that names it."""
        host, port = self._address
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise OSError(f"the admin address {host}:{port} cannot be bound: {error.strerror}; choose another with --admin") from error

    async def serve(self) -> None:
        """Until cancelled."""
        assert self._socket is not None
        await self._server.serve(sockets=[self._socket])

    async def _ready(self, _: Request) -> Response:
        state = self._state
        if not state.ready:
            return PlainTextResponse("not ready: no configuration yet\n", status_code=503)
        stale = ", stale" if state.stale else ""
        return PlainTextResponse(f"ready: {state.listening()}; configuration from {state.origin}{stale}\n")

    async def _metrics(self, _: Request) -> Response:
        state = self._state
        refused = f"# TYPE midstream_config_refused gauge\nmidstream_config_refused {len(state.refusals)}\n"
        stale = f"# TYPE midstream_config_stale gauge\nmidstream_config_stale {int(state.stale)}\n"
        return PlainTextResponse(state.dataplane.metrics() + refused + stale, media_type="text/plain; version=0.0.4")

    async def _client_status(self, _: Request) -> Response:
        """FetchClientStatus in the REST form of its definition (C12); whatever is asked, this sidecar tells of itself."""
        node = message("envoy.config.core.v3.Node")(id=self._state.node, user_agent_name="midstream")
        config = client_config(node, self._state.resources, self._state.refusals)
        response = message("envoy.service.status.v3.ClientStatusResponse")(config=[config])
        return Response(MessageToJson(response), media_type="application/json")

    async def _config(self, _: Request) -> Response:
        return JSONResponse(self._state.as_json())
