"""librdkafka, by confluent-kafka: topic ids, flexible messages, both group protocols, share groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import Consumer, KafkaException, Message, Producer, ShareConsumer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

from ..scene import DEADLINE_S, At, Failed, Scene, until


def _admin(at: At) -> AdminClient:
    return AdminClient({"bootstrap.servers": at.bootstrap})


def _done(futures: dict) -> list[tuple[object, str]]:
    """What became of each, by its name."""
    found = []
    for name, future in futures.items():
        try:
            future.result(DEADLINE_S)
            found.append((name, "done"))
        except KafkaException as error:
            found.append((name, error.args[0].name()))
    return sorted(found, key=str)


def _topic(at: At, name: str, partitions: int) -> None:
    admin = _admin(at)  # kept: its futures end with it
    if _done(admin.create_topics([NewTopic(name, partitions, at.replicas)])) != [(name, "done")]:
        raise Failed(f"{name} was not created")


def _produce(at: At, topic: str, values: list[str], **options: object) -> list[tuple[int, int]]:
    """Partitions and offsets of what was delivered."""
    placed: list[tuple[int, int]] = []

    def told(error: object, message: Message) -> None:
        if error:
            raise Failed(str(error))
        placed.append((message.partition(), message.offset()))

    producer = Producer({"bootstrap.servers": at.bootstrap, "linger.ms": 5, **options})
    for value in values:
        producer.produce(topic, value.encode(), key=value[-1].encode(), headers={"n": value}, on_delivery=told)
    if producer.flush(DEADLINE_S):
        raise Failed("not all was delivered")
    return sorted(placed)


def _some(poll: Callable[[float], Iterable[Message]], count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        polled = poll(DEADLINE_S)
        batch = list(polled)
        if not batch:
            raise Failed(f"{len(found)} of {count} records after {DEADLINE_S} s")
        for message in batch:
            if message.error():
                raise Failed(str(message.error()))
            found.append(message)
    return found


def _line(message: Message) -> str:
    return f"{message.partition()} {message.offset()} {message.key()} {message.value()} {message.headers()}"


def _consume(at: At, topic: str, count: int, group: str, **options: object) -> Iterator[str]:
    consumer = Consumer(
        {"bootstrap.servers": at.bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **options}
    )
    consumer.subscribe([topic])
    try:
        yield from sorted(map(_line, _some(lambda timeout: consumer.consume(count, timeout), count)))
        committed = consumer.commit(asynchronous=False) or []
        yield f"committed: {sorted((place.partition, place.offset) for place in committed)}"
    finally:
        consumer.close()


def idempotence(at: At) -> Iterator[str]:
    _topic(at, "rd-idempotent", 4)
    for codec in ("none", "lz4", "zstd", "gzip", "snappy"):
        values = [f"{codec} {number}" for number in range(50)]
        yield f"{codec}: {_produce(at, 'rd-idempotent', values, **{'enable.idempotence': True, 'compression.type': codec})}"


def classic_group(at: At) -> Iterator[str]:
    yield from _consume(at, "rd-idempotent", 250, "rd-classic", **{"group.protocol": "classic"})


def new_group(at: At) -> Iterator[str]:
    """KIP-848, and a subscription by a regular expression, which the broker evaluates."""
    yield from _consume(at, "rd-idempotent", 250, "rd-new", **{"group.protocol": "consumer"})
    yield from _consume(at, "^rd-idem.*", 250, "rd-regex", **{"group.protocol": "consumer"})


def share_group(at: At) -> Iterator[str]:
    _topic(at, "rd-shared", 2)
    resource = ConfigResource(ConfigResource.Type.GROUP, "rd-share")
    resource.add_incremental_config(ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET))
    admin = _admin(at)
    yield f"group settings: {[state for _, state in _done(admin.incremental_alter_configs([resource]))]}"
    _produce(at, "rd-shared", [f"share {number}" for number in range(40)])
    consumer = ShareConsumer({"bootstrap.servers": at.bootstrap, "group.id": "rd-share", "share.acknowledgement.mode": "explicit"})
    consumer.subscribe(["rd-shared"])
    try:
        seen = []
        while len(seen) < 40:
            batch = _some(consumer.poll, 1)
            for message in batch:
                consumer.acknowledge(message)
            seen += map(_line, batch)
            consumer.commit_sync(DEADLINE_S)
        yield from sorted(seen)
    finally:
        consumer.close()


def transactions(at: At) -> Iterator[str]:
    for name in ("rd-in", "rd-out"):
        _topic(at, name, 1)
    _produce(at, "rd-in", [f"in {number}" for number in range(9)])
    consumer = Consumer({"bootstrap.servers": at.bootstrap, "group.id": "rd-copy", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["rd-in"])
    producer = Producer({"bootstrap.servers": at.bootstrap, "transactional.id": "rd-copier"})
    producer.init_transactions(DEADLINE_S)
    try:
        for turn in range(3):
            records = _some(lambda timeout: consumer.consume(3, timeout), 3)
            producer.begin_transaction()
            for record in records:
                producer.produce("rd-out", record.value(), key=record.key())
            place = TopicPartition("rd-in", 0, records[-1].offset() + 1)
            producer.send_offsets_to_transaction([place], consumer.consumer_group_metadata(), DEADLINE_S)
            if turn == 1:
                producer.abort_transaction(DEADLINE_S)
            else:
                producer.commit_transaction(DEADLINE_S)
            offset = consumer.committed([TopicPartition("rd-in", 0)], timeout=DEADLINE_S)[0].offset
            yield f"turn {turn}: {len(records)} records, offset {offset}"
    finally:
        consumer.close()
    yield from _consume(at, "rd-out", 6, "rd-committed", **{"isolation.level": "read_committed"})


def administration(at: At) -> Iterator[str]:
    admin = _admin(at)
    cluster = admin.describe_cluster(request_timeout=DEADLINE_S).result(DEADLINE_S)
    yield f"nodes: {sorted((node.id, at.broker(node.host, node.port)) for node in cluster.nodes)}"
    yield f"topics made: {_done(admin.create_topics([NewTopic('rd-made', 2, at.replicas), NewTopic('rd-made-too', 1, 9)]))}"
    yield f"partitions: {_done(admin.create_partitions([NewPartitions('rd-made', 4), NewPartitions('rd-none', 4)]))}"
    resource = ConfigResource(ConfigResource.Type.TOPIC, "rd-made")
    resource.add_incremental_config(ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET))
    yield f"altered: {[state for _, state in _done(admin.incremental_alter_configs([resource]))]}"
    asked = [ConfigResource(ConfigResource.Type.TOPIC, "rd-made"), ConfigResource(ConfigResource.Type.BROKER, "1")]
    for name in asked:
        entries = until(
            lambda name=name: admin.describe_configs([name])[name].result(DEADLINE_S),
            lambda told: "cleanup.policy" not in told or told["cleanup.policy"].value == "compact",
        )
        yield f"{name.restype.name} {name.name}: cleanup.policy={getattr(entries.get('cleanup.policy'), 'value', None)} of {len(entries)}"
        if "advertised.listeners" in entries:
            yield f"advertised.listeners={entries['advertised.listeners'].value}"
    described = until(
        lambda: admin.describe_topics(TopicCollection(["rd-made"]), request_timeout=DEADLINE_S)["rd-made"].result(DEADLINE_S),
        lambda told: len(told.partitions) == 4,
    )
    for partition in described.partitions:
        at_home = at.broker(partition.leader.host, partition.leader.port) == f"broker-{partition.leader.id}"
        yield f"partition {partition.id}: leader at its own address: {at_home}, {len(partition.replicas)} replicas"
    place = TopicPartition("rd-idempotent", 0)
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        yield f"offset: {admin.list_offsets({place: spec})[place].result(DEADLINE_S).offset}"
    yield f"records deleted: {admin.delete_records([TopicPartition('rd-idempotent', 0, 5)])[place].result(DEADLINE_S).low_watermark}"
    yield f"deleted: {_done(admin.delete_topics(['rd-made', 'rd-none']))}"


def groups(at: At) -> Iterator[str]:
    admin = _admin(at)
    listed = admin.list_consumer_groups(request_timeout=DEADLINE_S).result(DEADLINE_S)
    yield f"groups: {sorted((one.group_id, one.state.name, one.type.name) for one in listed.valid if one.group_id.startswith('rd-'))}"
    for name, future in admin.describe_consumer_groups(["rd-classic", "rd-new"], request_timeout=DEADLINE_S).items():
        group = future.result(DEADLINE_S)
        at_home = at.broker(group.coordinator.host, group.coordinator.port) == f"broker-{group.coordinator.id}"
        yield f"{name}: {group.state.name} {group.type.name} {len(group.members)} members, coordinator at its own address: {at_home}"
    yield f"deleted: {_done(admin.delete_consumer_groups(['rd-regex', 'rd-nobody']))}"


def access_rules(at: At) -> Iterator[str]:
    admin = _admin(at)
    rule = AclBinding(
        ResourceType.TOPIC, "rd-acl", ResourcePatternType.PREFIXED, "User:ann", "*", AclOperation.READ, AclPermissionType.ALLOW
    )  # fmt: skip
    yield f"created: {[state for _, state in _done(admin.create_acls([rule]))]}"
    wanted = AclBindingFilter(ResourceType.TOPIC, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    yield f"described: {sorted(map(str, admin.describe_acls(wanted).result(DEADLINE_S)))}"
    by_name = AclBindingFilter(ResourceType.TOPIC, "rd-acl", ResourcePatternType.PREFIXED, None, None, AclOperation.ANY, AclPermissionType.ANY)
    for what in (wanted, by_name):
        for future in admin.delete_acls([what]).values():
            try:
                yield f"deleted: {sorted(map(str, future.result(DEADLINE_S)))}"
            except KafkaException as error:
                yield f"not deleted: {error.args[0].name()}"
    yield f"left: {admin.describe_acls(wanted).result(DEADLINE_S)}"


def scenes() -> Iterator[tuple[str, Scene]]:
    for play in (idempotence, classic_group, new_group, share_group, transactions, administration, groups, access_rules):
        yield f"librdkafka-{play.__name__.replace('_', '-')}", play
