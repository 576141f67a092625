"""Quotas: nobody gets an error, who used more than there is waits, and is told how long."""

import struct
import time
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Producer

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh
from tests.integration.kafka.test_librdkafka import DEADLINE_S, consume
from tests.integration.kafka.wire import Connection, request, string

RECORD = b"x" * 10_000
FIND_COORDINATOR = 10


def limit(name: str, match: str, what: str) -> str:
    return f"""
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {{name: {name}}}
spec: {{listeners: [events], match: {match}, limit: {{{what}}}}}
"""


def produce_nothing(client: Connection, padding: int) -> int:
    """A Produce request (version 3) whose records no broker takes, of that size; what its response says of throttling, in milliseconds."""
    topic = string("metered") + struct.pack(">iii", 1, 0, padding) + b"\0" * padding
    answer = client.send(request(0, 3, struct.pack(">hhi", -1, 1, 1000) + struct.pack(">i", 1) + topic)).answer()
    assert answer
    return struct.unpack(">i", answer[-4:])[0]


def find_coordinator(client: Connection) -> int:
    """What a response that nobody has to wait for says of throttling."""
    answer = client.send(request(FIND_COORDINATOR, 1, string("group") + b"\0")).answer()
    assert answer
    return struct.unpack_from(">i", answer)[0]


def test_the_response_says_how_long_and_the_connection_is_not_read_meanwhile(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("metered", partitions=1)
    through = mesh(limit("produce", "{verbs: [Produce]}", "bytes: 10000, burst: 1000"))
    with Connection(through.broker_port(1)) as client:
        # 10,000 bytes less the burst come back in 0.9 s. This client takes no notice.
        assert 500 <= produce_nothing(client, 10_000) <= 1_500
        asked = time.monotonic()
        assert produce_nothing(client, 5_000) > 0
        assert time.monotonic() - asked > 0.5  # it was not read before: a lower bound, no race
        assert find_coordinator(client) == 0


def test_requests_are_counted_for_every_client_id(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh(limit("requests", "{}", "requests: 1, per: 300ms, over: throttle, each: client"))
    with Connection(through.broker_port(1)) as client, Connection(through.broker_port(1)) as twin:
        assert find_coordinator(client) == 0
        assert 0 < find_coordinator(twin) <= 300
        assert 0 < find_coordinator(client) <= 600
    producer = Producer({"bootstrap.servers": through.bootstrap, "client.id": "another"})
    assert producer.list_topics(timeout=DEADLINE_S).brokers


@pytest.mark.parametrize("each", ["identity", "client", "resource"])
async def test_whose_bytes_they_are(kafka: Kafka, mesh: Callable[..., Mesh], each: str) -> None:
    """What one client, or one topic, has used up, another one still has. All is delivered, none twice."""
    for topic in (f"heavy-{each}", f"light-{each}"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(limit("fair", "{verbs: [Produce]}", f"bytes: 80000, burst: 1000, each: {each}"))
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, client_id="heavy") as heavy:
        began = time.monotonic()
        for _ in range(5):
            await heavy.send_and_wait(f"heavy-{each}", RECORD)
        assert time.monotonic() - began > 0.4  # 40,000 bytes beyond the burst are waited for, the last answer not counted
    async with AIOKafkaConsumer(f"heavy-{each}", bootstrap_servers=through.bootstrap, auto_offset_reset="earliest") as consumer:
        assert [(await consumer.getone()).value for _ in range(5)] == [RECORD] * 5
    producer = Producer({"bootstrap.servers": through.bootstrap, "client.id": "heavy" if each == "resource" else "light"})
    producer.produce(f"light-{each}", RECORD)
    assert producer.flush(DEADLINE_S) == 0


@pytest.mark.parametrize("held", [False, True])
def test_fetches_pay_for_what_they_got(kafka: Kafka, mesh: Callable[..., Mesh], *, held: bool) -> None:
    topic = f"fetched-{held}"
    kafka.create_topic(topic, partitions=1)
    direct = Producer({"bootstrap.servers": kafka.bootstrap()[0]})
    for _ in range(20):
        direct.produce(topic, RECORD)
        assert direct.flush(DEADLINE_S) == 0
    lanes = f"""
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: lanes}}
spec: {{listeners: [events], topics: ["{topic}"], lanes: {{header: lane, lanes: [{{name: canary, clientIds: ["canary-*"]}}]}}}}
"""
    quotas = limit("of-the-topic", f"{{verbs: [Fetch], resources: [{topic}]}}", "bytes: 200000, burst: 1000")
    through = mesh(quotas + limit("of-all", "{verbs: [Fetch]}", "bytes: 1000000") + (lanes if held else ""))
    began = time.monotonic()
    values = consume(through.bootstrap, topic, 20, **{"fetch.message.max.bytes": 20_000, "max.partition.fetch.bytes": 20_000})
    assert values == [RECORD] * 20
    assert time.monotonic() - began > 0.5  # 200,000 bytes at as many in a second, the last of them not waited for
