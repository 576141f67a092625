"""What ordinary clients do direct, they do through the mesh."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh


async def test_a_group_consumes_what_an_idempotent_producer_sent(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("group-work")
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, enable_idempotence=True) as producer:
        for number in range(200):
            await producer.send("group-work", str(number).encode(), key=str(number % 7).encode())
        await producer.flush()
    seen: list[int] = []
    consumer = AIOKafkaConsumer("group-work", bootstrap_servers=through.bootstrap, group_id="workers", auto_offset_reset="earliest")
    async with consumer:
        while len(seen) < 200:
            batch = await consumer.getmany(timeout_ms=1000)
            seen += [int(record.value) for records in batch.values() for record in records]
        await consumer.commit()
        committed = [await consumer.committed(TopicPartition("group-work", partition)) for partition in range(4)]
        assert sum(offset or 0 for offset in committed) == 200
    assert sorted(seen) == list(range(200))
    assert through.sidecar.metric("midstream_requests_total", family="kafka", **{"class": "Produce"}) > 0


async def test_members_of_a_group_share_the_partitions(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("shared")
    through = mesh(workers=2)

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer("shared", bootstrap_servers=through.bootstrap, group_id="sharing", heartbeat_interval_ms=100)

    async with member() as one:
        assert len(one.assignment()) == 4
        async with member() as two:
            async with asyncio.timeout(20):
                while not (len(one.assignment()) == len(two.assignment()) == 2):
                    await one.getmany(timeout_ms=50)
            assert not one.assignment() & two.assignment()


async def test_transactions_commit_and_abort(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("ledger", partitions=1)
    through = mesh()
    producer = AIOKafkaProducer(bootstrap_servers=through.bootstrap, transactional_id="till-1")
    async with producer:
        async with producer.transaction():
            await producer.send_and_wait("ledger", b"kept")
        with pytest.raises(ValueError):
            async with producer.transaction():
                await producer.send_and_wait("ledger", b"dropped")
                raise ValueError
        async with producer.transaction():
            await producer.send_and_wait("ledger", b"kept too")
    options = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer("ledger", bootstrap_servers=through.bootstrap, **options) as consumer:
        assert [(await consumer.getone()).value for _ in range(2)] == [b"kept", b"kept too"]


async def test_admin_sees_our_addresses_only(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh()
    admin = AIOKafkaAdminClient(bootstrap_servers=through.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("made-by-admin", 2, 1)])
        cluster = await admin.describe_cluster()
        assert [(broker["node_id"], broker["host"], broker["port"]) for broker in cluster["brokers"]] == [(1, "127.0.0.1", through.broker_port(1))]
        [topic] = await admin.describe_topics(["made-by-admin"])
        assert len(topic["partitions"]) == 2
        await admin.delete_topics(["made-by-admin"])
    finally:
        await admin.close()


async def test_large_records_pass_unchanged_both_ways(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("large", partitions=1)
    through = mesh()
    values = [bytes([number]) * 900_000 for number in range(8)]
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, max_request_size=1_048_576) as producer:
        for value in values:
            await producer.send_and_wait("large", value)
    options = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 8_000_000, "fetch_max_bytes": 8_000_000}
    async with AIOKafkaConsumer("large", bootstrap_servers=through.bootstrap, **options) as consumer:
        assert [(await consumer.getone()).value for _ in values] == values


async def test_acks_0_has_no_response(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("fire-and-forget", partitions=1)
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, acks=0) as producer:
        for number in range(50):
            await producer.send_and_wait("fire-and-forget", str(number).encode())
        assert await producer.partitions_for("fire-and-forget") == {0}
    async with AIOKafkaConsumer("fire-and-forget", bootstrap_servers=through.bootstrap, auto_offset_reset="earliest") as consumer:
        assert [int((await consumer.getone()).value) for _ in range(50)] == list(range(50))


async def test_a_broker_port_finds_its_broker_by_itself(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("straight", partitions=1)
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{through.broker_port(1)}") as producer:
        assert (await producer.send_and_wait("straight", b"x")).offset == 0
