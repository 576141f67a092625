"""Rules on topics, in Kafka's own errors, per topic."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh
from tests.integration.kafka.test_librdkafka import DEADLINE_S, consume, produce

SECRETS_DENIED = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: no-secrets}
spec: {listeners: [events], rules: [{deny: [read, write, admin], resources: ["secret-*"]}, {allow: [read, write, admin], resources: ["*"]}]}
"""

OWNERS_DENIED = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: no-secret-owners}
spec: {listeners: [events], rules: [{deny: ["*"], resources: ["group:secret-*", "transaction:secret-*"]}, {allow: ["*"], resources: ["*"]}]}
"""

WRITES_DENIED = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: read-only}
spec: {listeners: [events], rules: [{deny: [write], resources: ["archive"]}, {allow: [read, write, admin], resources: ["*"]}]}
"""


async def test_a_producer_is_denied_one_topic_and_keeps_the_other(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    for topic in ("archive", "journal"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(WRITES_DENIED)
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, linger_ms=20) as producer:
        denied, passed = [await producer.send(topic, b"x", partition=0) for topic in ("archive", "journal")]
        with pytest.raises(TopicAuthorizationFailedError):
            await denied
        assert (await passed).topic == "journal"
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap()) as direct:
        ends = await direct.end_offsets([TopicPartition("archive", 0), TopicPartition("journal", 0)])
        assert {partition.topic: end for partition, end in ends.items()} == {"archive": 0, "journal": 1}
    assert through.sidecar.metric("midstream_errors_total", family="kafka", kind="denied") >= 1


async def test_a_denied_topic_is_not_in_a_list_of_all(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    for topic in ("secret-plans", "public"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(SECRETS_DENIED)
    async with AIOKafkaConsumer(bootstrap_servers=through.bootstrap) as consumer:
        topics = await consumer.topics()
        assert "public" in topics and "secret-plans" not in topics


async def test_a_rule_pushed_under_traffic_denies_and_its_end_allows(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("secret-later", partitions=1)
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:
        await producer.send_and_wait("secret-later", b"1")
        through.apply(SECRETS_DENIED)
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("secret-later", b"2")
        through.apply("")
        assert (await producer.send_and_wait("secret-later", b"3")).offset == 1


def test_topic_ids_are_no_way_around(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    """librdkafka fetches by topic id, in a fetch session that it opened before there was a rule."""
    kafka.create_topic("secret-ids", partitions=1)
    produce(kafka.bootstrap()[0], "secret-ids", [b"1"])
    through = mesh()
    consumer = Consumer({"bootstrap.servers": through.bootstrap, "group.id": "ids", "auto.offset.reset": "earliest"})
    consumer.subscribe(["secret-ids"])
    try:
        assert consumer.consume(1, timeout=DEADLINE_S)[0].error() is None
        through.apply(SECRETS_DENIED)
        seen: list[bytes] = []
        errors: list[KafkaError] = []
        for value in (b"2", b"3"):
            if errors:  # which it tells once
                break
            produce(kafka.bootstrap()[0], "secret-ids", [value])
            batch = consumer.consume(1, timeout=DEADLINE_S)
            assert batch, "neither a record nor an error came"
            seen += [record.value() for record in batch if not record.error()]
            errors += [record.error() for record in batch if record.error()]
        # The fetch that waited at the broker when the rule came was decided before it.
        assert seen in ([], [b"2"])
        assert errors[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    finally:
        consumer.close()


def test_librdkafka_is_told_per_topic(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    for topic in ("secret-rd", "public-rd"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(SECRETS_DENIED)
    outcome: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": through.bootstrap, "linger.ms": 50})
    for topic in ("secret-rd", "public-rd"):
        producer.produce(topic, b"x", partition=0, on_delivery=lambda error, record: outcome.update({record.topic(): error.code() if error else 0}))
    producer.flush(DEADLINE_S)
    assert outcome == {"secret-rd": KafkaError.TOPIC_AUTHORIZATION_FAILED, "public-rd": 0}
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        consume(through.bootstrap, "secret-rd", 1)


async def test_over_a_limit_a_producer_waits_and_loses_nothing(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("limited", partitions=1)
    through = mesh("""
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: slow}
spec: {listeners: [events], match: {class: [write], resources: ["limited"]}, limit: {requests: 20, per: 1s, burst: 5}}
""")
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:
        offsets = [(await producer.send_and_wait("limited", b"x")).offset for _ in range(30)]
    assert offsets == list(range(30))
    produced = through.sidecar.metric("midstream_requests_total", family="kafka", **{"class": "Produce"})
    assert produced >= 30


async def test_a_group_is_denied_as_a_broker_does(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    """To aiokafka, to both of librdkafka's group protocols, in an offset commit, and out of the list of all groups."""
    kafka.create_topic("owned", partitions=1)
    produce(kafka.bootstrap()[0], "owned", [b"1"])
    for group in ("secret-direct", "open-direct"):
        assert consume(kafka.bootstrap()[0], "owned", 1, **{"group.id": group}) == [b"1"]
    through = mesh(OWNERS_DENIED)
    denied = AIOKafkaConsumer("owned", bootstrap_servers=through.bootstrap, group_id="secret-a")
    with pytest.raises(GroupAuthorizationFailedError):
        await denied.start()
        await asyncio.wait_for(denied.getone(), DEADLINE_S)
    await denied.stop()
    for protocol in ("classic", "consumer"):
        given = {"bootstrap.servers": through.bootstrap, "group.id": "secret-b", "group.protocol": protocol}
        consumer = Consumer(given)
        consumer.subscribe(["owned"])
        said = consumer.poll(DEADLINE_S)
        assert said is not None and said.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        consumer.close()
    assert consume(through.bootstrap, "owned", 1, **{"group.id": "open-mesh"}) == [b"1"]
    admin = AdminClient({"bootstrap.servers": through.bootstrap})
    listed = {group.group_id for group in admin.list_consumer_groups().result(DEADLINE_S).valid}
    assert {"open-direct", "open-mesh"} <= listed and not any(group.startswith("secret") for group in listed)
    with pytest.raises(KafkaException) as refused:
        admin.describe_consumer_groups(["secret-direct"])["secret-direct"].result(DEADLINE_S)
    assert refused.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_transactional_id_is_denied_as_a_broker_does(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh(OWNERS_DENIED)
    with pytest.raises(KafkaException) as refused:
        Producer({"bootstrap.servers": through.bootstrap, "transactional.id": "secret-t"}).init_transactions(DEADLINE_S)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    allowed = Producer({"bootstrap.servers": through.bootstrap, "transactional.id": "open-t"})
    allowed.init_transactions(DEADLINE_S)
    allowed.begin_transaction()
    allowed.produce("owned-by-a-transaction", b"x")
    allowed.commit_transaction(DEADLINE_S)
