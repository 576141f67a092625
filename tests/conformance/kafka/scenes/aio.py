"""aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ..scene import DEADLINE_S, At, Scene

KEYS = 7


def scene(play: Callable[[At], AsyncIterator[str]]) -> Scene:
    """An asynchronous scene as an ordinary one."""

    async def played(at: At) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            return [line async for line in play(at)]

    return lambda at: asyncio.run(played(at))


async def _topic(at: At, name: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=at.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, at.replicas)])
    finally:
        await admin.close()


async def _read(at: At, topic: str, count: int, **options: object) -> list[tuple[int, int, bytes | None, bytes]]:
    """Partition, offset, key and value of `count` records, in order."""
    found = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=at.bootstrap, auto_offset_reset="earliest", **options) as consumer:
        while len(found) < count:
            record = await consumer.getone()
            found.append((record.partition, record.offset, record.key, record.value))
        if options.get("group_id"):
            await consumer.commit()
            places = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
            found.append(("committed", *[await consumer.committed(place) for place in places]))  # type: ignore[arg-type]
    return sorted(found[:count]) + found[count:]


async def idempotence(at: At) -> AsyncIterator[str]:
    await _topic(at, "aio-idempotent", 4)
    async with AIOKafkaProducer(bootstrap_servers=at.bootstrap, enable_idempotence=True, linger_ms=5) as producer:
        for number in range(300):
            await producer.send("aio-idempotent", str(number).encode(), key=str(number % KEYS).encode())
        await producer.flush()
    for record in await _read(at, "aio-idempotent", 300, group_id="aio-group"):
        yield str(record)


async def transactions(at: At) -> AsyncIterator[str]:
    await _topic(at, "aio-ledger", 1)
    async with AIOKafkaProducer(bootstrap_servers=at.bootstrap, transactional_id="aio-till") as producer:
        for number in range(6):
            await producer.begin_transaction()
            await producer.send_and_wait("aio-ledger", str(number).encode())
            if number % 3 == 2:
                await producer.abort_transaction()
                yield f"{number} aborted"
            else:
                await producer.send_offsets_to_transaction({TopicPartition("aio-idempotent", 0): number}, "aio-follower")
                await producer.commit_transaction()
                yield f"{number} committed"
    for level, count in (("read_committed", 4), ("read_uncommitted", 6)):
        yield f"{level}: {[value for _, _, _, value in await _read(at, 'aio-ledger', count, isolation_level=level)]}"
    async with AIOKafkaConsumer(bootstrap_servers=at.bootstrap, group_id="aio-follower") as consumer:
        yield f"offset of the group: {await consumer.committed(TopicPartition('aio-idempotent', 0))}"


async def a_lost_rival(at: At) -> AsyncIterator[str]:
    """A second producer with the same transactional id fences the first."""
    await _topic(at, "aio-fenced", 1)
    one = AIOKafkaProducer(bootstrap_servers=at.bootstrap, transactional_id="aio-rival")
    two = AIOKafkaProducer(bootstrap_servers=at.bootstrap, transactional_id="aio-rival")
    await one.start()
    await one.begin_transaction()
    await one.send_and_wait("aio-fenced", b"lost")
    await two.start()
    try:
        await one.commit_transaction()
        yield "the first committed"
    except Exception as error:
        yield f"the first: {type(error).__name__}"
    async with two.transaction():
        await two.send_and_wait("aio-fenced", b"kept")
    await two.stop()
    try:
        await one.stop()
    except Exception as error:
        yield f"the first, at its end: {type(error).__name__}"
    yield str(await _read(at, "aio-fenced", 1, isolation_level="read_committed"))


async def a_rebalance(at: At) -> AsyncIterator[str]:
    await _topic(at, "aio-shared", 4)

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer("aio-shared", bootstrap_servers=at.bootstrap, group_id="aio-members", heartbeat_interval_ms=100)

    async with member() as one:
        yield f"alone: {len(one.assignment())}"
        async with member() as two:
            while not (len(one.assignment()) == len(two.assignment()) == 2):
                await one.getmany(timeout_ms=50)
            yield f"together, in common: {one.assignment() & two.assignment()}"


async def administration(at: At) -> AsyncIterator[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=at.bootstrap)
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        yield f"brokers: {sorted((one['node_id'], at.broker(one['host'], one['port'])) for one in cluster['brokers'])}"
        created = await admin.create_topics(
            [NewTopic("aio-made", 2, at.replicas, topic_configs={"retention.ms": "60000"}), NewTopic("bad name", 1, 1)]
        )
        yield f"created: {sorted(created.topic_errors)}"
        yield f"more partitions: {sorted((await admin.create_partitions({'aio-made': NewPartitions(5)})).topic_errors)}"
        while len((topic := (await admin.describe_topics(["aio-made"]))[0])["partitions"]) < 5:
            pass  # a turn is a round trip
        yield f"{topic['topic']}: {sorted(one['partition'] for one in topic['partitions'])}"
        [told] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "aio-made", {"retention.ms": None})])
        yield f"settings: {[(entry[0], entry[1]) for entry in told.resources[0][4]]}"
        yield f"topics: {sorted(name for name in await admin.list_topics() if name.startswith('aio-'))}"
        yield f"groups: {sorted(group for group in await admin.list_consumer_groups() if group[0].startswith('aio-'))}"
        offsets = await admin.list_consumer_group_offsets("aio-group")
        yield f"offsets: {sorted((place.partition, offset.offset) for place, offset in offsets.items())}"
        yield f"deleted: {sorted((await admin.delete_topics(['aio-made'])).topic_error_codes)}"
    finally:
        await admin.close()


def scenes() -> Iterator[tuple[str, Scene]]:
    for play in (idempotence, transactions, a_lost_rival, a_rebalance, administration):
        yield f"aiokafka-{play.__name__.replace('_', '-')}", scene(play)
