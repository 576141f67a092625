"""librdkafka speaks newer versions than aiokafka: topic ids, flexible messages, the new group protocol."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh

DEADLINE_S = 30


def produce(bootstrap: str, topic: str, values: list[bytes], **options: object) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, **options})
    failed: list[KafkaError] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(DEADLINE_S) == 0
    if failed:
        raise KafkaException(failed[0])


def consume(bootstrap: str, topic: str, count: int, **options: object) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"of-{topic}", "auto.offset.reset": "earliest", **options})
    consumer.subscribe([topic])
    values: list[bytes] = []
    try:
        while len(values) < count:
            batch = consumer.consume(count, timeout=DEADLINE_S)
            assert batch, f"{len(values)} of {count} after {DEADLINE_S} s"
            for record in batch:
                if record.error():
                    raise KafkaException(record.error())
                values.append(record.value())
    finally:
        consumer.close()
    return values


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_of_both_protocols(kafka: Kafka, mesh: Callable[..., Mesh], protocol: str) -> None:
    topic = f"rd-{protocol}"
    kafka.create_topic(topic)
    through = mesh()
    values = [str(number).encode() for number in range(500)]
    produce(through.bootstrap, topic, values, **{"enable.idempotence": True})
    assert sorted(consume(through.bootstrap, topic, 500, **{"group.protocol": protocol})) == sorted(values)


def test_compressed_batches(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("rd-lz4", partitions=1)
    through = mesh()
    values = [b"x" * 10_000 + str(number).encode() for number in range(300)]
    produce(through.bootstrap, "rd-lz4", values, **{"compression.type": "lz4"})
    assert consume(through.bootstrap, "rd-lz4", 300) == values


def test_transactions_with_offsets(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("rd-in", partitions=1)
    kafka.create_topic("rd-out", partitions=1)
    through = mesh()
    produce(through.bootstrap, "rd-in", [b"1", b"2", b"3"])
    consumer = Consumer({"bootstrap.servers": through.bootstrap, "group.id": "rd-copy", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["rd-in"])
    producer = Producer({"bootstrap.servers": through.bootstrap, "transactional.id": "rd-copier"})
    producer.init_transactions(DEADLINE_S)
    records = []
    while len(records) < 3:
        records += consumer.consume(3 - len(records), timeout=DEADLINE_S)
    producer.begin_transaction()
    for record in records:
        producer.produce("rd-out", record.value())
    position = [TopicPartition("rd-in", 0, 3)]
    producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata(), DEADLINE_S)
    producer.commit_transaction(DEADLINE_S)
    assert consumer.committed([TopicPartition("rd-in", 0)], timeout=DEADLINE_S)[0].offset == 3
    consumer.close()
    assert consume(through.bootstrap, "rd-out", 3, **{"isolation.level": "read_committed"}) == [b"1", b"2", b"3"]


def test_describe_cluster(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh()
    admin = AdminClient({"bootstrap.servers": through.bootstrap})
    cluster = admin.describe_cluster(request_timeout=DEADLINE_S).result(DEADLINE_S)
    assert [(node.id, node.host, node.port) for node in cluster.nodes] == [(1, "127.0.0.1", through.broker_port(1))]
    groups = admin.list_consumer_groups(request_timeout=DEADLINE_S).result(DEADLINE_S)
    assert not groups.errors
