"""What large fetches cost whose clients do not read, or read slowly."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest
from confluent_kafka import Producer

from mesh_core.lab import Kafka, ports
from tests.conftest import start
from tests.integration.kafka.conftest import BROKER_PORTS, objects
from tests.integration.kafka.test_librdkafka import DEADLINE_S
from tests.integration.kafka.wire import request, string
from tests.integration.process import Sidecar

KIB = 1024
MIB = KIB * KIB
FETCHED = 100 * MIB
CLIENTS = 8
EACH = 256 * KIB
# Beside what connections cost: what a first large response has the process keep, as allocators do.
ONCE = MIB
FETCH, VERSION = 1, 11
TENANT = """
---
apiVersion: midstream/v1
kind: KafkaVirtualCluster
metadata: {{name: tenant}}
spec: {{cluster: events, prefix: "tenant."}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: tenant}}
spec: {{address: "127.0.0.1:{port}", protocol: kafka, backend: tenant, brokerPorts: "{first}-{last}"}}
"""


@pytest.fixture(scope="module")
def generous() -> Iterator[Kafka]:
    """A broker that gives 128 MiB at once, and has them in the one partition of `tenant.large`."""
    broker = start(lambda: Kafka(settings={"fetch.max.bytes": str(128 * MIB), "message.max.bytes": str(8 * MIB)}).start())
    broker.create_topic("tenant.large", partitions=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap()[0], "message.max.bytes": 4 * MIB, "batch.size": 4 * MIB})
    for _ in range(FETCHED // (2 * MIB) + 4):
        producer.produce("tenant.large", bytes(2 * MIB))
        producer.poll(0)
    assert producer.flush(DEADLINE_S) == 0
    yield broker
    broker.kill()


def fetch(topic: str) -> bytes:
    """All that there is, in one response."""
    partition = struct.pack(">iiqqi", 0, -1, 0, -1, FETCHED)
    topics = struct.pack(">i", 1) + string(topic) + struct.pack(">i", 1) + partition
    return request(FETCH, VERSION, struct.pack(">iiiibii", -1, 0, 1, FETCHED, 0, 0, -1) + topics + struct.pack(">i", 0) + string(""))


@pytest.mark.parametrize("name", ["tenant.large", "large"], ids=["plain", "virtual"])
def test_large_fetches_of_slow_readers_are_never_held(generous: Kafka, sidecar: Callable[..., Sidecar], name: str) -> None:
    port, tenant = (ports.free_range(1 + BROKER_PORTS)[0] for _ in range(2))
    written = objects(generous.bootstrap(), port) + TENANT.format(port=tenant, first=tenant + 1, last=tenant + BROKER_PORTS)
    process = psutil.Process(sidecar(written).pid)
    at = (port if name == "tenant.large" else tenant) + 1 + 1  # the lab's only broker is number 1
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(1 + CLIENTS)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
            client.settimeout(DEADLINE_S)
            client.connect(("127.0.0.1", at))
        first, *others = clients
        first.sendall(fetch(name))
        _, size = take(first, process, 4)
        assert FETCHED * 9 // 10 < size < FETCHED * 11 // 10
        before = process.memory_info().rss
        peak, _ = take(first, process, size)
        for client in others:
            client.sendall(fetch(name))
        for client in others:
            peak = max(peak, take(client, process, FETCHED // 20)[0])
        assert peak - before <= CLIENTS * EACH + ONCE


def take(client: socket.socket, process: psutil.Process, count: int) -> tuple[int, int]:
    """Reads that many bytes. Returns the most memory seen meanwhile, and what the first four bytes are as a number."""
    peak, taken = 0, b""
    while count:
        piece = client.recv(min(count, 64 * KIB))
        assert piece, "the connection was closed"
        count -= len(piece)
        taken = (taken + piece)[:4]
        peak = max(peak, process.memory_info().rss)
    return peak, struct.unpack(">i", taken)[0]
