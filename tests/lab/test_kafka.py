"""Kafka in the lab: real clients on the real broker, on its SASL listener, and on the mock cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from mesh_core.lab import Kafka, MockKafka
from tests.conftest import start

ASSEMBLY_S = 60.0


async def round_trip(topic: str, options: dict[str, Any]) -> list[bytes]:
    """Ten keyed records with acks=all, read back by a group."""
    producer = AIOKafkaProducer(**options, acks="all")
    await producer.start()
    for number in range(10):
        await producer.send_and_wait(topic, b"%d" % number, key=b"%d" % number)
    await producer.stop()
    consumer = AIOKafkaConsumer(topic, **options, group_id=f"{topic}-readers", auto_offset_reset="earliest")
    await consumer.start()
    values = [(await asyncio.wait_for(consumer.getone(), ASSEMBLY_S)).value for _ in range(10)]
    await consumer.commit()
    await consumer.stop()
    return sorted(values)


EXPECTED = [b"%d" % number for number in range(10)]


def test_the_real_broker(kafka: Kafka) -> None:
    kafka.create_topic("lab-plain", partitions=3)
    assert asyncio.run(round_trip("lab-plain", kafka.client_options())) == EXPECTED


def test_the_sasl_listener(kafka: Kafka) -> None:
    assert asyncio.run(round_trip("lab-sasl", kafka.client_options(sasl_user="alice"))) == EXPECTED
    wrong = {**kafka.client_options(sasl_user="alice"), "sasl_plain_password": "wrong"}
    with pytest.raises(KafkaError):
        asyncio.run(round_trip("lab-sasl", wrong))


def test_the_mock_cluster(mock_kafka: MockKafka) -> None:
    assert len(mock_kafka.bootstrap()) == 3
    assert asyncio.run(round_trip("lab-mock", mock_kafka.client_options())) == EXPECTED


def test_three_brokers_survive_the_loss_of_one() -> None:
    cluster = start(lambda: Kafka(3).start())
    cluster.create_topic("kept", partitions=3)

    async def produce() -> None:
        producer = AIOKafkaProducer(**cluster.client_options(), acks="all", request_timeout_ms=60_000)
        await producer.start()
        await asyncio.to_thread(cluster.kill, 2)
        for number in range(30):
            await producer.send_and_wait("kept", b"x", key=b"%d" % number)
        await producer.stop()

    asyncio.run(produce())
    cluster.start_broker(2)
    cluster.kill()
