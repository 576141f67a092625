"""A real sidecar whose control plane is not ours: it knows one variant, and says nothing of the version of the whole set."""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from mesh_core.cli import families
from mesh_core.control.config import load
from mesh_core.lab import ports
from tests.conformance.xds.foreign import WITHIN_S, Foreign
from tests.integration.process import Sidecar
from xds.messages import message
from xds.protocol.client import Held

OBJECTS = """
apiVersion: midstream/v1
kind: TcpService
metadata: {{name: pipe}}
spec: {{endpoint: "127.0.0.1:{backend}"}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: pipe}}
spec: {{address: "127.0.0.1:{listen}", protocol: tcp, backend: pipe}}
"""


def resources(folder: Path, listen: int, backend: int) -> list[Held]:
    """As they could be made by anybody."""
    folder.mkdir(exist_ok=True)
    (folder / "objects.yaml").write_text(OBJECTS.format(listen=listen, backend=backend))
    return load(folder, families().kinds).held()


def response(server: Foreign, url: str, found: Iterable[Held], version: str):
    """Those of a type; an empty answer where there is nothing."""
    made = message(server.prefix + "DiscoveryResponse")(type_url=url, nonce=f"{url} {version}")
    for held in [held for held in found if held.type_url == url]:
        if server.variant == "delta":
            made.resources.add(name=held.name, version=held.version, resource={"type_url": url, "value": held.value})
        else:
            made.resources.add(type_url=url, value=held.value)
    if server.variant == "sotw":
        made.version_info = version
    return made


async def backend(name: bytes) -> tuple[asyncio.Server, int]:
    async def greet(_, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_a_sidecar_follows_a_foreign_control_plane(variant: str, tmp_path: Path) -> None:
    one, two = [await backend(name) for name in (b"one", b"two")]
    listen = ports.free()
    server = await Foreign(variant).start()
    found = resources(tmp_path / "first", listen, one[1])
    answering = asyncio.create_task(server.answer_all(lambda request: response(server, request.type_url, found, "1")))
    sidecar = Sidecar("", tmp_path / "sidecar", control=server.address, node="shop-1")
    try:
        await asyncio.to_thread(sidecar.start)
        assert await greeting(listen) == b"one"

        # A change, and its answer.
        changed = [held for held in resources(tmp_path / "second", listen, two[1]) if held.type_url.endswith("ClusterLoadAssignment")]
        given = response(server, changed[0].type_url, changed, "2")
        server.stream.responses.put_nowait(given)
        heard = await server.hear(lambda request: request.response_nonce == given.nonce)
        assert not heard.HasField("error_detail")
        async with asyncio.timeout(WITHIN_S):
            while await greeting(listen) != b"two":  # workers take a change in their next turn
                pass

        # What it refuses it says, and goes on.
        occupied = socket.create_server(("127.0.0.1", 0))
        bad = [held for held in resources(tmp_path / "third", occupied.getsockname()[1], two[1]) if held.type_url.endswith("Listener")]
        given = response(server, bad[0].type_url, bad, "3")
        server.stream.responses.put_nowait(given)
        heard = await server.hear(lambda request: request.response_nonce == given.nonce)
        assert "pipe" in heard.error_detail.message
        assert variant == "delta" or heard.version_info == "1"
        assert await greeting(listen) == b"two"
        occupied.close()
    finally:
        await asyncio.to_thread(sidecar.stop)
        answering.cancel()
        await server.stop()
        for started, _ in (one, two):
            started.close()
