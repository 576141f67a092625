"""Who breaks the protocol loses its own connection only, and nothing else."""

import asyncio
import random
import ssl
import struct
from collections.abc import Callable

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh

HEADER = struct.pack(">hhih", 18, 3, 1, -1)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(struct.pack(">I", 0xFFFFFFFF), id="4 GB"),
        pytest.param(struct.pack(">I", 0x7FFFFFFF) + HEADER, id="2 GB"),
        pytest.param(struct.pack(">i", -5), id="negative"),
        pytest.param(struct.pack(">i", 3), id="shorter than a header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP"),
        pytest.param(struct.pack(">ihhih", 10, 0, 99, 1, -1), id="a version that was not offered"),
        pytest.param(struct.pack(">ihhih", 10, 0, 9, 1, -1), id="truncated inside of the frame"),
    ],
)
async def test_a_broken_client_is_closed_alone(kafka: Kafka, mesh: Callable[..., Mesh], sent: bytes) -> None:
    kafka.create_topic("beside", partitions=1)
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:
        await producer.send_and_wait("beside", b"before")
        reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await producer.send_and_wait("beside", b"after")
    assert through.sidecar.metric("midstream_errors_total", family="kafka") >= 1


async def test_random_bytes_do_no_harm(mesh: Callable[..., Mesh]) -> None:
    through = mesh()
    dice = random.Random(1)
    before = psutil.Process(through.sidecar.pid).memory_info().rss
    for _ in range(100):
        reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
        size = dice.randrange(20, 5000)
        writer.write(struct.pack(">I", size) + struct.pack(">hh", dice.randrange(-1, 95), dice.randrange(0, 18)) + dice.randbytes(size - 4))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:
        await producer.client.force_metadata_update()
    assert psutil.Process(through.sidecar.pid).memory_info().rss - before < 32 * 1024 * 1024


async def test_an_unsupported_apiversions_is_answered_by_kip_511(mesh: Callable[..., Mesh]) -> None:
    through = mesh()
    reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
    writer.write(struct.pack(">ihhih", 10, 18, 99, 77, -1))
    size, correlation, error, count, key, low, high = struct.unpack(">iihihhh", await asyncio.wait_for(reader.readexactly(20), 10))
    assert (size, correlation, error, count, key, low) == (16, 77, 35, 1, 18, 0)
    assert high >= 3
    writer.close()


async def test_tls_to_a_plain_port_is_refused(mesh: Callable[..., Mesh]) -> None:
    through = mesh()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", through.port, ssl=ssl.create_default_context())
