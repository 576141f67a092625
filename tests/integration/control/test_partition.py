"""A sidecar that was cut off gets only the difference when it is back."""

import asyncio
import os

import pytest

from mesh_core.compile.types import SIDECAR_TYPES
from tests.integration.control.cable import Cable
from xds.client.ads import AdsClient
from xds.protocol.client import Update
from xds.protocol.resource import Resource
from xds.protocol.types import CLUSTER
from xds.server.hub import Hub
from xds.server.listen import listen

WITHIN_S = 90
# How long the network is gone; MIDSTREAM_PARTITION_SECONDS=60 is a drill, in which the client itself finds out that nobody is there.
PARTITION_S = float(os.environ.get("MIDSTREAM_PARTITION_SECONDS", "0.2"))
RESOURCES = 1000
CHANGED = 5


def world(changed: int) -> list[Resource]:
    """Some 200 bytes each; the first ones differ."""
    contents = (f"{number} {'new' if number < changed else 'old'} ".ljust(200, ".") for number in range(RESOURCES))
    return [Resource(CLUSTER, f"cluster-{number}", content.encode()) for number, content in enumerate(contents)]


@pytest.mark.timeout(PARTITION_S + 120)
async def test_after_a_partition_only_the_difference_is_sent():
    hub, updates = Hub(), asyncio.Queue[Update]()

    async def on_update(update: Update) -> list:
        updates.put_nowait(update)
        return []

    async def held() -> None:
        while {key[1]: item.value for key, item in client.machine.held.items()} != {found.name: found.value for found in published}:
            await asyncio.wait_for(updates.get(), WITHIN_S)
            await asyncio.sleep(0)

    published = world(0)
    hub.publish(published)
    server = await listen(hub, "127.0.0.1:0")
    async with Cable("127.0.0.1", server.port) as cable:
        client = AdsClient([cable.address], "shop-1", SIDECAR_TYPES, on_update)
        running = asyncio.create_task(client.run())
        await held()
        whole = cable.to_client
        assert whole > RESOURCES * 200
        cable.cut()
        published = world(CHANGED)[1:]  # one is gone
        hub.publish(published)
        await asyncio.sleep(PARTITION_S)
        cable.mend()
        update = await asyncio.wait_for(updates.get(), WITHIN_S)
        assert {name for _, name in update.changed} == {f"cluster-{number}" for number in range(1, CHANGED)}
        assert update.removed == {(CLUSTER, "cluster-0")}
        print(f"whole: {whole} bytes; after the partition: {cable.to_client} down, {cable.to_server} up")
        # The changed ones and their frames, and what HTTP/2 says at the beginning of a connection.
        assert cable.to_client < CHANGED * 400 + 2000
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await server.stop()
