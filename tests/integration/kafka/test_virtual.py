"""Two tenants on one cluster: each sees its own names only, and no byte of the other's or of the physical ones reaches a client."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, ShareConsumer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from mesh_core.lab import Kafka, ports
from mesh_core.lab.kafka_properties import CLUSTER_ID
from tests.integration.kafka.sniffer import Sniffer
from tests.integration.kafka.test_librdkafka import DEADLINE_S, consume, produce
from tests.integration.process import Sidecar

PORTS = 3  # bootstrap, and brokers 0 and 1

OBJECTS = """
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: events}}
spec: {{bootstrap: ["{broker}"]}}
"""
TENANT = """
---
apiVersion: midstream/v1
kind: KafkaVirtualCluster
metadata: {{name: {name}}}
spec: {{cluster: events, prefix: "physical-{name}.", aliases: {{topics: {{{aliases}}}}}}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "127.0.0.1:{port}", protocol: kafka, backend: {name}, brokerPorts: "{first}-{last}", advertisedPort: {advertised}}}
"""


@dataclass
class Tenant:
    """A virtual cluster as its clients meet it."""

    name: str
    port: int
    sniffer: Sniffer

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})


@pytest.fixture
def tenants(kafka: Kafka, sidecar: Callable[..., Sidecar]) -> Iterator[Callable[..., list[Tenant]]]:
    """``tenants()`` starts a sidecar with the virtual clusters `one` and `two`; in the end it is seen that nothing physical was told."""
    made: list[Tenant] = []

    def start(aliases: str = "", rules: str = "") -> list[Tenant]:
        written = OBJECTS.format(broker=kafka.bootstrap()[0])
        for name in ("one", "two"):
            front, behind = ports.free_range(PORTS), ports.free_range(PORTS)
            made.append(Tenant(name, front[0], Sniffer(front, behind)))
            written += TENANT.format(
                name=name, port=behind[0], first=behind[1], last=behind[-1], advertised=front[1], aliases=aliases if name == "one" else ""
            )
        sidecar(written + rules, workers=2)
        return made

    yield start
    for tenant in made:
        tenant.sniffer.close()
        for secret in ("physical-", CLUSTER_ID, kafka.bootstrap()[0], "__consumer_offsets"):
            assert not tenant.sniffer.told(secret), f"{tenant.name} was told {secret}"
    assert sum(tenant.sniffer.size for tenant in made) > 0


async def test_two_tenants_with_equal_names_by_aiokafka(kafka: Kafka, tenants: Callable[..., list[Tenant]]) -> None:
    one, two = tenants()
    for tenant in (one, two):
        async with AIOKafkaProducer(bootstrap_servers=tenant.bootstrap, enable_idempotence=True) as producer:
            for number in range(50):
                await producer.send("orders", f"{tenant.name}-{number}".encode(), partition=number % 2)
            await producer.flush()
    for tenant in (one, two):
        consumer = AIOKafkaConsumer("orders", bootstrap_servers=tenant.bootstrap, group_id="billing", auto_offset_reset="earliest")
        seen: list[bytes] = []
        async with consumer:
            async with asyncio.timeout(DEADLINE_S):
                while len(seen) < 50:
                    batch = await consumer.getmany(timeout_ms=1000)
                    seen += [record.value for records in batch.values() for record in records]
            await consumer.commit()
            assert sum([await consumer.committed(TopicPartition("orders", at)) or 0 for at in range(2)]) == 50
            assert await consumer.topics() == {"orders"}
        assert sorted(seen) == sorted(f"{tenant.name}-{number}".encode() for number in range(50))
        admin = AIOKafkaAdminClient(bootstrap_servers=tenant.bootstrap)
        await admin.start()
        assert await admin.list_topics() == ["orders"]
        assert [group for group, _ in await admin.list_consumer_groups()] == ["billing"]
        await admin.close()
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap()) as direct:
        assert {"physical-one.orders", "physical-two.orders"} <= await direct.topics()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_of_both_protocols_with_patterns(tenants: Callable[..., list[Tenant]], protocol: str) -> None:
    """Classic consumers match by themselves what Metadata lists; of the new protocol the brokers match."""
    one, two = tenants()
    topic = f"pattern-{protocol}"
    for tenant, subscription in ((two, topic), (one, f"^patt.*-{protocol}")):
        values = [f"{tenant.name}-{number}".encode() for number in range(100)]
        produce(tenant.bootstrap, topic, values)
        group = {"group.protocol": protocol, "group.id": f"of-{protocol}"}
        assert sorted(consume(tenant.bootstrap, subscription, 100, **group)) == sorted(values)
        admin = tenant.admin()
        listed = admin.list_consumer_groups(request_timeout=DEADLINE_S).result(DEADLINE_S)
        names = {group.group_id for group in listed.valid}
        assert f"of-{protocol}" in names and not any("physical" in name for name in names)


def test_share_groups(tenants: Callable[..., list[Tenant]]) -> None:
    one, _ = tenants()
    admin = one.admin()
    earliest = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    group = ConfigResource(ResourceType.GROUP, "sharing", incremental_configs=[earliest])
    admin.incremental_alter_configs([group], request_timeout=DEADLINE_S)[group].result(DEADLINE_S)
    produce(one.bootstrap, "shared-by-group", [b"1", b"2", b"3"])
    consumer = ShareConsumer({"bootstrap.servers": one.bootstrap, "group.id": "sharing"})
    consumer.subscribe(["shared-by-group"])
    seen: list[tuple[str, bytes]] = []
    while len(seen) < 3:
        batch = list(consumer.poll(DEADLINE_S))
        assert batch, f"{len(seen)} of 3 after {DEADLINE_S} s"
        seen += [(record.topic(), record.value()) for record in batch]
    consumer.close()
    assert sorted(seen) == [("shared-by-group", value) for value in (b"1", b"2", b"3")]


def test_members_that_are_described_have_the_tenants_topics(tenants: Callable[..., list[Tenant]]) -> None:
    one, _ = tenants()
    admin = one.admin()
    produce(one.bootstrap, "described", [b"x"])
    for protocol in ("classic", "consumer"):
        consumer = Consumer(
            {"bootstrap.servers": one.bootstrap, "group.id": f"d-{protocol}", "auto.offset.reset": "earliest", "group.protocol": protocol}
        )
        consumer.subscribe(["described"])
        assert consumer.consume(1, timeout=DEADLINE_S)
        group = admin.describe_consumer_groups([f"d-{protocol}"], request_timeout=DEADLINE_S)[f"d-{protocol}"].result(DEADLINE_S)
        assert {place.topic for member in group.members for place in member.assignment.topic_partitions} == {"described"}
        consumer.close()


def test_transactions_with_offsets(tenants: Callable[..., list[Tenant]]) -> None:
    for tenant in tenants():
        produce(tenant.bootstrap, "tx-in", [b"1", b"2", b"3"])
        options = {"bootstrap.servers": tenant.bootstrap, "group.id": "copy", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer = Consumer(options)
        consumer.subscribe(["tx-in"])
        producer = Producer({"bootstrap.servers": tenant.bootstrap, "transactional.id": "copier"})
        producer.init_transactions(DEADLINE_S)
        records = []
        while len(records) < 3:
            records += consumer.consume(3 - len(records), timeout=DEADLINE_S)
        producer.begin_transaction()
        for record in records:
            producer.produce("tx-out", record.value() + tenant.name.encode())
        positions = consumer.position([Position("tx-in", partition) for partition in {record.partition() for record in records}])
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), DEADLINE_S)
        producer.commit_transaction(DEADLINE_S)
        consumer.close()
        copied = consume(tenant.bootstrap, "tx-out", 3, **{"isolation.level": "read_committed"})
        assert sorted(copied) == [value + tenant.name.encode() for value in (b"1", b"2", b"3")]


def test_what_administrators_do(kafka: Kafka, tenants: Callable[..., list[Tenant]]) -> None:
    one, two = tenants()
    admin, other = one.admin(), two.admin()
    wait = {"request_timeout": DEADLINE_S}
    admin.create_topics([NewTopic("managed", 1, 1)], **wait)["managed"].result(DEADLINE_S)
    with pytest.raises(KafkaException, match="'managed' already exists"):
        admin.create_topics([NewTopic("managed", 1, 1)], **wait)["managed"].result(DEADLINE_S)
    too_long = "x" * 245
    with pytest.raises(KafkaException, match="KafkaVirtualCluster/one leaves topics names of at most 236 characters"):
        admin.create_topics([NewTopic(too_long, 1, 1)], **wait)[too_long].result(DEADLINE_S)
    admin.create_partitions([NewPartitions("managed", 2)], **wait)["managed"].result(DEADLINE_S)
    resource = ConfigResource(
        ResourceType.TOPIC, "managed", incremental_configs=[ConfigEntry("retention.ms", "123456", incremental_operation=AlterConfigOpType.SET)]
    )
    admin.incremental_alter_configs([resource], **wait)[resource].result(DEADLINE_S)
    asked = ConfigResource(ResourceType.TOPIC, "managed")
    assert admin.describe_configs([asked], **wait)[asked].result(DEADLINE_S)["retention.ms"].value == "123456"
    assert set(admin.list_topics(timeout=DEADLINE_S).topics) >= {"managed"}
    assert "managed" not in other.list_topics(timeout=DEADLINE_S).topics
    produce(one.bootstrap, "managed", [b"x"] * 3, partitioner="consistent", **{"acks": "all"})
    latest = admin.list_offsets({Position("managed", at): OffsetSpec.latest() for at in range(2)}, **wait)
    assert sum(end.result(DEADLINE_S).offset for end in latest.values()) == 3
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("moved", [Position("managed", 0, 1)])], **wait)["moved"].result(DEADLINE_S)
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("moved")], **wait)["moved"].result(DEADLINE_S)
    assert [(place.topic, place.offset) for place in offsets.topic_partitions] == [("managed", 1)]
    deleted = admin.delete_records([Position("managed", at, -1) for at in range(2)], **wait)
    assert {place.topic for place in deleted} == {"managed"}
    [gone.result(DEADLINE_S) for gone in deleted.values()]
    cluster = admin.describe_cluster(**wait).result(DEADLINE_S)
    assert cluster.cluster_id not in (CLUSTER_ID, other.describe_cluster(**wait).result(DEADLINE_S).cluster_id)
    assert [node.port for node in cluster.nodes] == [one.port + 2]
    admin.delete_consumer_groups(["moved"], **wait)["moved"].result(DEADLINE_S)
    admin.delete_topics(["managed"], **wait)["managed"].result(DEADLINE_S)
    with pytest.raises(KafkaException) as unknown:
        other.delete_topics(["orders-of-one"], **wait)["orders-of-one"].result(DEADLINE_S)
    assert unknown.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


async def test_an_alias_shows_a_topic_that_was_there_before(kafka: Kafka, tenants: Callable[..., list[Tenant]]) -> None:
    kafka.create_topic("before-tenants-were", partitions=1)
    produce(kafka.bootstrap()[0], "before-tenants-were", [b"old"])
    one, two = tenants(aliases="legacy: before-tenants-were, q: a-name-that-is-much-longer")
    async with AIOKafkaProducer(bootstrap_servers=one.bootstrap, linger_ms=20) as producer:
        sent = [await producer.send(topic, b"new") for topic in ("legacy", "q", "own")]
        assert {(await one).topic for one in sent} == {"legacy", "q", "own"}
    async with AIOKafkaConsumer("legacy", "q", "own", bootstrap_servers=one.bootstrap, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(DEADLINE_S):
            seen = [await consumer.getone() for _ in range(4)]
    assert sorted((record.topic, record.value) for record in seen) == [("legacy", b"new"), ("legacy", b"old"), ("own", b"new"), ("q", b"new")]
    assert sorted(consume(one.bootstrap, "legacy", 2)) == [b"new", b"old"]
    assert "legacy" not in two.admin().list_topics(timeout=DEADLINE_S).topics
    assert not one.sniffer.told("before-tenants") and not one.sniffer.told("a-name-that-is-much-longer")
