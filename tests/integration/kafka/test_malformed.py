"""Broken requests of every API and version against a process: it lives, holds no more memory, and serves those who keep to the protocol."""

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable
from pathlib import Path

import psutil

from mesh_core.lab import Kafka, wait
from tests.integration.kafka.conftest import Mesh
from tests.integration.kafka.test_librdkafka import produce

# Random messages of an independent codec (dataplane/proto-kafka/tests/generate_messages.py): key, version, direction, body in hex.
MESSAGES = Path(__file__).parents[3] / "dataplane/proto-kafka/tests/messages.txt"
FORMS = 4
AT_A_TIME = 100
# Buffers of a hundred connections, kept by the allocator.
MEMORY = 48 * 1024 * 1024


def requests() -> list[tuple[int, int, bytes]]:
    lines = (line.split(" ") for line in MESSAGES.read_text().splitlines() if not line.startswith("#"))
    return [(int(key), int(version), bytes.fromhex(body.strip("-"))) for key, version, direction, body, *_ in lines if direction == "request"]


def broken(dice: random.Random, key: int, version: int, body: bytes) -> bytes:
    """A frame whose body, size or both are not what they should be."""
    frame = bytearray(struct.pack(">hhih", key, version, 7, 1) + b"c\0" + body)
    at = dice.randrange(8, len(frame))
    match dice.randrange(5):
        case 0:
            del frame[at:]
        case 1:
            frame[at] ^= 1 << dice.randrange(8)
        case 2:
            frame[at : at + 4] = b"\x7f\xff\xff\xff"
        case 3:
            frame[at : at + 5] = b"\xff\xff\xff\xff\x0f"
        case _:
            frame[at:at] = dice.randbytes(9)
    size = len(frame) if dice.random() < 0.7 else dice.choice((0, 3, len(frame) + 100, 0x7FFFFFFF, 0xFFFFFFFF))
    return struct.pack(">I", size) + frame


async def send(port: int, frame: bytes) -> None:
    """Sends it, waits a little for an answer or the end of the connection, and goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frame)
    writer.write_eof()
    with contextlib.suppress(TimeoutError, ConnectionError):  # a Fetch may wait, as may who joins a group
        await asyncio.wait_for(reader.read(), 0.2)
    writer.transport.abort()


async def test_broken_requests_of_every_api(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("beside-broken-ones", partitions=1)
    through = mesh(workers=2)
    running = through.sidecar
    dice = random.Random(6)
    frames = [broken(dice, *request) for request in requests() for _ in range(FORMS)]
    memory = []
    for at in range(0, len(frames), AT_A_TIME):
        await asyncio.gather(*(send(through.port, frame) for frame in frames[at : at + AT_A_TIME]))
        memory.append(psutil.Process(running.pid).memory_info().rss)
    assert len(frames) > 1000
    assert max(memory) - memory[0] < MEMORY
    assert running.metric("midstream_errors_total", family="kafka", kind="client_protocol") > 0
    active = {"family": "kafka", "state": "active"}
    wait.until_true("no connection is left", lambda: running.metric("midstream_pool_connections", **active) == 0, deadline_s=30)
    produce(through.bootstrap, "beside-broken-ones", [b"x"])
