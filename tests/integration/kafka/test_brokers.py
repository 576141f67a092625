"""Three brokers: leaders move, a broker dies, and clients stay at our addresses."""

import threading
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka, ports
from tests.conftest import start
from tests.integration.kafka.conftest import BROKER_PORTS, objects
from tests.integration.kafka.test_librdkafka import DEADLINE_S, consume
from tests.integration.process import Sidecar

MESSAGES = 3000


@pytest.fixture
def brokers() -> Iterator[Kafka]:
    cluster = start(lambda: Kafka(brokers=3).start())
    yield cluster
    cluster.kill()


@pytest.mark.timeout(300)
def test_a_killed_leader_costs_nothing(brokers: Kafka, sidecar: Callable[..., Sidecar]) -> None:
    brokers.create_topic("survives", partitions=3)
    port = ports.free_range(1 + BROKER_PORTS)[0]
    sidecar(objects(brokers.bootstrap(), port), workers=2)
    address = f"127.0.0.1:{port}"
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 1, "topic.metadata.refresh.interval.ms": 1000})
    failed: list[str] = []
    third = threading.Event()
    delivered = 0

    def told(error: object, _: object) -> None:
        nonlocal delivered
        delivered += 1
        if error:
            failed.append(str(error))
        if delivered == MESSAGES // 3:
            third.set()

    for number in range(MESSAGES):
        producer.produce("survives", str(number).encode(), key=str(number).encode(), on_delivery=told)
        producer.poll(0.002)
        if third.is_set():
            third.clear()
            brokers.kill(0)
    assert producer.flush(120) == 0
    assert failed == []
    values = consume(address, "survives", MESSAGES)
    assert sorted(int(value) for value in values) == list(range(MESSAGES))

    seen = AdminClient({"bootstrap.servers": address}).list_topics(timeout=DEADLINE_S).brokers.values()
    assert {broker.port for broker in seen} <= set(range(port + 1, port + 1 + BROKER_PORTS))
