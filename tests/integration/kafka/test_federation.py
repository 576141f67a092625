"""Two real clusters behind one listener: clients see one, and no byte of where or what they are reaches a client."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka, ports
from mesh_core.lab.kafka_properties import CLUSTER_ID
from tests.conftest import start
from tests.integration.kafka.sniffer import Sniffer
from tests.integration.kafka.test_librdkafka import DEADLINE_S, consume, produce
from tests.integration.process import Sidecar

PORTS = 5  # bootstrap, and nodes 0 to 3: broker 1 of the home cluster is 1, that of the other 3
OTHER_HOST = "127.77.0.2"  # of nobody else

OBJECTS = """
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: home}}
spec: {{bootstrap: ["{home}"]}}
---
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: other}}
spec: {{bootstrap: ["{other}"]}}
---
apiVersion: midstream/v1
kind: KafkaFederation
metadata: {{name: both}}
spec:
  clusters:
    - {{cluster: home, firstNode: 0, topics: [b-home]}}
    - {{cluster: other, firstNode: 2, topics: ["b-*"], groups: ["b-*"], transactionalIds: ["b-*"]}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: both}}
spec: {{address: "127.0.0.1:{port}", protocol: kafka, backend: both, brokerPorts: "{first}-{last}", advertisedPort: {told}}}
"""


@dataclass
class Both:
    """The federation as its clients meet it, and the clusters behind it."""

    bootstrap: str
    home: Kafka
    other: Kafka


@pytest.fixture(scope="module")
def other() -> Iterator[Kafka]:
    cluster = start(lambda: Kafka(host=OTHER_HOST).start())
    yield cluster
    cluster.kill()


@pytest.fixture
def both(kafka: Kafka, other: Kafka, sidecar: Callable[..., Sidecar]) -> Iterator[Both]:
    front, behind = ports.free_range(PORTS), ports.free_range(PORTS)
    sniffer = Sniffer(front, behind)
    brokers = {"home": kafka.bootstrap()[0], "other": other.bootstrap()[0]}
    objects = OBJECTS.format(**brokers, port=behind[0], first=behind[1], last=behind[-1], told=front[1])
    sidecar(objects, workers=2)
    yield Both(f"127.0.0.1:{front[0]}", kafka, other)
    sniffer.close()
    assert sniffer.size > 0
    for secret in (OTHER_HOST, CLUSTER_ID):
        assert not sniffer.told(secret), f"a client was told {secret}"


def topics_of(cluster: Kafka) -> set[str]:
    return set(AdminClient({"bootstrap.servers": cluster.bootstrap()[0]}).list_topics(timeout=DEADLINE_S).topics)


def groups_of(bootstrap: str) -> set[str]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    listed = admin.list_consumer_groups(request_timeout=DEADLINE_S).result(DEADLINE_S)
    assert not listed.errors
    return {group.group_id for group in listed.valid}


async def test_one_idempotent_producer_and_one_consumer_for_both(both: Both) -> None:
    both.home.create_topic("b-shadow")
    async with AIOKafkaProducer(bootstrap_servers=both.bootstrap, enable_idempotence=True) as producer:
        for number in range(100):
            for topic in ("a-orders", "b-orders", "b-shadow", "b-home"):
                await producer.send(topic, f"{topic} {number}".encode(), partition=0)
        await producer.flush()
    async with AIOKafkaConsumer(bootstrap_servers=both.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, 0) for topic in ("a-orders", "b-orders", "b-shadow", "b-home")]
        consumer.assign(partitions)
        seen: dict[str, list[bytes]] = {partition.topic: [] for partition in partitions}
        async with asyncio.timeout(DEADLINE_S):
            while any(len(values) < 100 for values in seen.values()):
                for partition, records in (await consumer.getmany(timeout_ms=1000)).items():
                    seen[partition.topic] += [record.value for record in records]
    assert seen == {topic: [f"{topic} {number}".encode() for number in range(100)] for topic in seen}
    assert {"a-orders", "b-home", "b-shadow"} <= topics_of(both.home) and "b-orders" not in topics_of(both.home)
    assert {"b-orders", "b-shadow"} <= topics_of(both.other) and "a-orders" not in topics_of(both.other)
    async with AIOKafkaConsumer("b-shadow", bootstrap_servers=both.home.bootstrap()) as direct:
        assert await direct.end_offsets([TopicPartition("b-shadow", 0)]) == {TopicPartition("b-shadow", 0): 0}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_are_coordinated_in_the_cluster_of_their_topics(both: Both, protocol: str) -> None:
    for kind in ("a", "b"):
        topic = f"{kind}-grouped-{protocol}"
        produce(both.bootstrap, topic, [b"1", b"2", b"3"])
        options = {"group.id": f"{kind}-group-{protocol}", "group.protocol": protocol}
        assert sorted(consume(both.bootstrap, topic, 3, **options)) == [b"1", b"2", b"3"]
    listed = groups_of(both.bootstrap)
    assert {f"a-group-{protocol}", f"b-group-{protocol}"} <= listed
    behind = groups_of(both.other.bootstrap()[0])
    assert f"b-group-{protocol}" in behind and f"a-group-{protocol}" not in behind


def test_a_group_keeps_no_offsets_of_another_clusters_topics(both: Both) -> None:
    produce(both.bootstrap, "b-elsewhere", [b"1"])
    consumer = Consumer({"bootstrap.servers": both.bootstrap, "group.id": "a-reader"})
    with pytest.raises(KafkaException) as refused:
        consumer.commit(offsets=[Position("b-elsewhere", 0, 1)], asynchronous=False)
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer.close()


def test_transactions_stay_in_their_cluster(both: Both) -> None:
    for kind in ("a", "b"):
        produce(both.bootstrap, f"{kind}-in", [b"1", b"2"])
        producer = Producer({"bootstrap.servers": both.bootstrap, "transactional.id": f"{kind}-copier"})
        producer.init_transactions(DEADLINE_S)
        consumer = Consumer({"bootstrap.servers": both.bootstrap, "group.id": f"{kind}-copiers", "auto.offset.reset": "earliest"})
        consumer.subscribe([f"{kind}-in"])
        producer.begin_transaction()
        records = consumer.consume(2, DEADLINE_S)
        for record in records:
            producer.produce(f"{kind}-out", record.value())
        producer.send_offsets_to_transaction([Position(f"{kind}-in", 0, 2)], consumer.consumer_group_metadata(), DEADLINE_S)
        producer.commit_transaction(DEADLINE_S)
        assert sorted(consume(both.bootstrap, f"{kind}-out", 2, **{"isolation.level": "read_committed", "group.id": f"{kind}-outs"})) == [b"1", b"2"]
        (committed,) = consumer.committed([Position(f"{kind}-in", 0)], DEADLINE_S)
        assert committed.offset == 2
        consumer.close()
    producer.begin_transaction()
    producer.produce("a-out", b"3")
    with pytest.raises(KafkaException) as refused:
        producer.commit_transaction(DEADLINE_S)
    assert refused.value.args[0].txn_requires_abort(), refused.value
