"""SASL passes through; rules see the user that the broker let in."""

from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, TopicAuthorizationFailedError

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh

ALICE_READS = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: alice-reads}
spec:
  listeners: [events]
  identities: ["user:alice"]
  rules: [{deny: [write], resources: ["for-others"]}, {allow: [read, write, admin], resources: ["*"]}]
"""


def options(kafka: Kafka, through: Mesh, **changed: str) -> dict[str, object]:
    return {**kafka.client_options(sasl_user="alice"), "bootstrap_servers": through.bootstrap, **changed}


async def test_the_user_of_plain_is_the_identity(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    for topic in ("for-others", "for-alice"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(ALICE_READS, sasl=True)
    async with AIOKafkaProducer(**options(kafka, through)) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("for-others", b"x")
        assert (await producer.send_and_wait("for-alice", b"x")).offset == 0


async def test_a_wrong_password_is_the_brokers_to_refuse(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh(sasl=True)
    producer = AIOKafkaProducer(**options(kafka, through, sasl_plain_password="wrong"))
    with pytest.raises((AuthenticationFailedError, KafkaConnectionError)):
        await producer.start()
    await producer.stop()
