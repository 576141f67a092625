"""KafkaStats: rates by partition, and consumers' lag, from what passes; compared with what Kafka's own administration says."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from mesh_core.lab import Kafka, wait
from tests.integration.kafka.conftest import Mesh
from tests.integration.kafka.test_librdkafka import DEADLINE_S, produce

STATS = """
---
apiVersion: midstream/v1
kind: KafkaStats
metadata: {name: all}
spec: {listeners: [events], series: %d}
"""
VIRTUAL = """
---
apiVersion: midstream/v1
kind: KafkaVirtualCluster
metadata: {name: team}
spec: {cluster: events, prefix: "team."}
"""


def until(mesh: Mesh, name: str, expected: float, **labels: str) -> None:
    """Waits for the metric; it is renewed once a second."""
    seen: list[float] = []

    def there() -> bool:
        seen.append(mesh.sidecar.metric(f"midstream_kafka_{name}", **labels))
        return seen[-1] == expected

    try:
        wait.until_true(f"{name} is {expected}", there, deadline_s=DEADLINE_S)
    except Exception as error:
        raise AssertionError(f"{name}{labels} is {seen[-1]} and not {expected}") from error


def lag_by_admin(kafka: Kafka, topic: str, group: str) -> dict[int, int]:
    """As kafka-consumer-groups.sh counts it."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap()[0]})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    committed = {found.partition: found.offset for found in asked[group].result(DEADLINE_S).topic_partitions if found.topic == topic}
    wanted: dict[Any, Any] = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in committed}
    ends = {place.partition: told.result(DEADLINE_S).offset for place, told in admin.list_offsets(wanted).items()}
    return {partition: ends[partition] - offset for partition, offset in committed.items()}


def send(bootstrap: str, topic: str, counts: dict[int, int], **fields: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    for partition, count in counts.items():
        for _ in range(count):
            producer.produce(topic, b"x" * 100, partition=partition, **fields)
    assert producer.flush(DEADLINE_S) == 0


def commit(bootstrap: str, topic: str, group: str, counts: dict[int, int], **options: Any) -> None:
    """A member of the group takes the topic and commits so many records of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **options})
    consumer.subscribe([topic])
    try:
        assert consumer.poll(DEADLINE_S) is not None
        consumer.commit(offsets=[TopicPartition(topic, partition, count) for partition, count in counts.items()], asynchronous=False)
    finally:
        consumer.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_groups_lag_is_what_kafka_says_it_is(kafka: Kafka, mesh: Callable[..., Mesh], protocol: str) -> None:
    topic, group = f"lag-{protocol}", f"behind-{protocol}"
    kafka.create_topic(topic, partitions=2)
    through = mesh(STATS % 1000, workers=2)
    send(through.bootstrap, topic, {0: 70, 1: 30})
    commit(through.bootstrap, topic, group, {0: 20, 1: 30}, **{"group.protocol": protocol})
    assert lag_by_admin(kafka, topic, group) == {0: 50, 1: 0}
    labels = {"cluster": "events", "group": group, "topic": topic}
    until(through, "consumer_lag", 50, partition="0", **labels)
    until(through, "consumer_lag", 0, partition="1", **labels)
    until(through, "consumer_lag_seconds", 0, partition="1", **labels)
    # Nobody of the group is there any more.
    send(through.bootstrap, topic, {1: 7})
    assert lag_by_admin(kafka, topic, group) == {0: 50, 1: 7}
    until(through, "consumer_lag", 7, partition="1", **labels)
    until(through, "partition_end_offset", 37, cluster="events", topic=topic, partition="1")


def test_a_sidecar_that_comes_later_learns_where_a_group_is_from_its_next_member(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    topic, group = "later", "joined"
    kafka.create_topic(topic, partitions=1)
    send(kafka.bootstrap()[0], topic, {0: 70})
    commit(kafka.bootstrap()[0], topic, group, {0: 20})
    later = mesh(STATS % 1000)
    consumer = Consumer({"bootstrap.servers": later.bootstrap, "group.id": group, "client.id": "late", "enable.auto.commit": False})
    consumer.subscribe([topic])
    assert consumer.poll(DEADLINE_S) is not None
    until(later, "consumer_lag", 50, cluster="events", group=group, topic=topic, partition="0")
    until(later, "fetch_lag", 0, cluster="events", client="late", topic=topic, partition="0")
    consumer.close()
    wait.until_true("who is gone is not counted", lambda: 'client="late"' not in later.sidecar.get("/metrics").text, deadline_s=DEADLINE_S)


def test_lag_in_time_is_the_age_of_the_next_record(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("aged", partitions=1)
    through = mesh(STATS % 1000)
    hour_ago = int((time.time() - 3600) * 1000)
    send(through.bootstrap, "aged", {0: 5}, timestamp=hour_ago)
    send(through.bootstrap, "aged", {0: 5})
    commit(through.bootstrap, "aged", "slow", {0: 2})
    commit(through.bootstrap, "aged", "quick", {0: 6})
    until(through, "consumer_lag", 8, group="slow", topic="aged")
    until(through, "consumer_lag", 4, group="quick", topic="aged")
    age = lambda group: through.sidecar.metric("midstream_kafka_consumer_lag_seconds", group=group, topic="aged")  # noqa: E731
    assert 3600 <= age("slow") < 3600 + 600
    assert age("quick") < 600


def test_rates_are_counted_by_partition_identity_and_direction(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("rated", partitions=2)
    through = mesh(STATS % 1000)
    send(through.bootstrap, "rated", {0: 40, 1: 2})
    consumer = Consumer({"bootstrap.servers": through.bootstrap, "group.id": "rated", "auto.offset.reset": "earliest"})
    consumer.subscribe(["rated"])
    # What a Fetch has brought is counted when the next one goes on behind it.
    assert len(consumer.consume(42, timeout=DEADLINE_S)) == 42
    for direction in ("produce", "fetch"):
        for partition, records in ((0, 40), (1, 2)):
            labels = {"listener": "events", "identity": "anonymous", "topic": "rated", "partition": str(partition), "direction": direction}
            until(through, "partition_records_total", records, **labels)
            sent = through.sidecar.metric("midstream_kafka_partition_bytes_total", **labels)
            assert 100 * records < sent < 200 * records + 200, (labels, sent)
            assert through.sidecar.metric("midstream_kafka_partition_requests_total", **labels) >= 1
    consumer.close()


def test_the_number_of_series_is_bounded(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("many", partitions=8)
    through = mesh(STATS % 3)
    send(through.bootstrap, "many", dict.fromkeys(range(8), 1))
    until(through, "partition_records_total", 3, topic="many")
    until(through, "partition_records_total", 5, topic="other", partition="other", identity="other")
    until(through, "stats_left_out", 5, cluster="events")
    text = through.sidecar.get("/metrics").text
    assert text.count("\nmidstream_kafka_partition_end_offset{") == 3


def test_a_tenants_series_have_its_names(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("team.own", partitions=1)
    through = mesh()
    tenant = through.objects.replace("backend: events", "backend: team")
    through.sidecar.reload(tenant + VIRTUAL + STATS % 10)
    wait.until_true("the rules are in force", lambda: "KafkaStats" in through.sidecar.get("/config").text, deadline_s=DEADLINE_S)
    produce(through.bootstrap, "own", [b"1", b"2", b"3"])
    commit(through.bootstrap, "own", "readers", {0: 1})
    until(through, "consumer_lag", 2, cluster="team", group="readers", topic="own", partition="0")
    assert "team." not in through.sidecar.get("/metrics").text


def test_nothing_is_measured_unless_asked_for(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("unmeasured", partitions=1)
    through = mesh()
    produce(through.bootstrap, "unmeasured", [b"1"])
    commit(through.bootstrap, "unmeasured", "unmeasured", {0: 1})
    text = through.sidecar.get("/metrics").text
    assert "midstream_kafka_partition" not in text and "lag" not in text
