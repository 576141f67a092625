"""Rules that look into records: what producers have to keep to, and lanes; with real clients' batches, offsets and producers."""

import asyncio
import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer
from confluent_kafka import TopicPartition as RdPartition

from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh, wait_until
from tests.integration.kafka.test_librdkafka import DEADLINE_S

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

STRICT = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {name: strict}
spec:
  listeners: [events]
  topics: ["strict*"]
  produce:
    acks: all
    compression: [lz4, zstd]
    maxBatchBytes: 2000
    maxRecordBytes: 1000
    requireKey: true
    requireHeaders: [traceparent]
"""

LANES = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {name: canary}
spec:
  listeners: [events]
  topics: ["lanes*"]
  lanes: {lanes: [{name: blue, clientIds: ["blue-*"]}, {name: green, clientIds: ["green-*"]}]}
"""

# librdkafka sends uncompressed what would not be shorter.
VALUE = b"x" * 200
GOOD = {"key": b"k", "headers": [("traceparent", b"00-1-2-01")]}


def outcome(bootstrap: str, topic: str, records: list[dict], **options: object) -> list[int]:
    """Produces all in one go and returns each record's error code, 0 for none."""
    codes = [-1] * len(records)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 200, "compression.type": "zstd", **options})
    for index, record in enumerate(records):

        def told(error: KafkaError | None, _: object, index: int = index) -> None:
            codes[index] = error.code() if error else 0

        producer.produce(topic, **{"value": VALUE, "partition": 0, **record}, on_delivery=told)
    assert producer.flush(DEADLINE_S) == 0
    return codes


def test_what_a_policy_does_not_allow_is_refused_in_kafkas_own_errors(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("strict", partitions=1)
    through = mesh(STRICT)
    refused = [
        ({"acks": 1}, [GOOD], KafkaError.INVALID_REQUIRED_ACKS),
        ({"compression.type": "gzip"}, [GOOD], 76),
        ({"compression.type": "none"}, [GOOD], 76),
        ({}, [{**GOOD, "key": None}], KafkaError.INVALID_RECORD),
        ({}, [{**GOOD, "headers": []}], KafkaError.INVALID_RECORD),
        ({}, [GOOD, {**GOOD, "value": bytes(1000)}], KafkaError.MSG_SIZE_TOO_LARGE),
    ]
    for options, records, code in refused:
        assert set(outcome(through.bootstrap, "strict", records, **options)) == {code}, options
    assert outcome(through.bootstrap, "strict", [GOOD] * 3) == [0, 0, 0]
    assert read(kafka.bootstrap()[0], "strict") == {0: VALUE, 1: VALUE, 2: VALUE}
    assert through.sidecar.metric("midstream_errors_total", family="kafka", kind="record_policy") == len(refused)


def test_a_partition_is_refused_and_what_comes_with_it_is_not(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("strict-pair", partitions=2)
    kafka.create_topic("lenient", partitions=1)
    through = mesh(STRICT)
    codes: dict[tuple, int] = {}
    producer = Producer({"bootstrap.servers": through.bootstrap, "linger.ms": 200, "compression.type": "lz4", "enable.idempotence": True})
    for topic, partition, record in (("strict-pair", 0, {}), ("strict-pair", 1, GOOD), ("lenient", 0, {})):
        told = lambda error, sent: codes.update({(sent.topic(), sent.partition()): error.code() if error else 0})  # noqa: E731
        producer.produce(topic, value=VALUE, partition=partition, on_delivery=told, **record)
    assert producer.flush(DEADLINE_S) == 0
    assert codes == {("strict-pair", 0): KafkaError.INVALID_RECORD, ("strict-pair", 1): 0, ("lenient", 0): 0}


def test_idempotence_and_transactions_go_on_under_a_policy(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("strict-once", partitions=1)
    through = mesh(STRICT)
    producer = Producer({"bootstrap.servers": through.bootstrap, "transactional.id": "strict-1", "compression.type": "lz4"})
    producer.init_transactions(DEADLINE_S)
    for number in range(3):
        producer.begin_transaction()
        producer.produce("strict-once", value=VALUE + str(number).encode(), **GOOD)
        assert producer.flush(DEADLINE_S) == 0
        producer.abort_transaction(DEADLINE_S) if number == 1 else producer.commit_transaction(DEADLINE_S)
    assert read(through.bootstrap, "strict-once") == {0: VALUE + b"0", 4: VALUE + b"2"}


def read(bootstrap: str, topic: str, client_id: str = "any") -> dict[int, bytes]:
    """What a consumer sees of the topic's only partition, by offset, once its position is the end."""
    options = {"bootstrap.servers": bootstrap, "group.id": f"{topic}-{client_id}", "client.id": client_id, "enable.auto.commit": False}
    consumer = Consumer({**options, "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([RdPartition(topic, 0, OFFSET_BEGINNING)])
    seen: dict[int, bytes] = {}
    try:
        while True:
            record = consumer.poll(DEADLINE_S)
            assert record is not None, f"no end after {seen}"
            if record.error() and record.error().code() == KafkaError._PARTITION_EOF:
                assert record.offset() == consumer.get_watermark_offsets(RdPartition(topic, 0), DEADLINE_S)[1]
                return seen
            assert record.error() is None, record.error()
            seen[record.offset()] = record.value()
    finally:
        consumer.close()


async def read_aio(bootstrap: str, topic: str, client_id: str) -> dict[int, bytes]:
    """The same with aiokafka, in read_committed."""
    seen: dict[int, bytes] = {}
    partition = TopicPartition(topic, 0)
    options = {"client_id": client_id, "isolation_level": "read_committed", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, **options) as consumer, asyncio.timeout(DEADLINE_S):
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                seen.update({record.offset: record.value for record in records})
    return seen


COLOURS = [None, b"blue", None, b"green", b"unknown-lane", b"blue", b"blue"]


def headers(number: int, colour: bytes | None) -> list[tuple[str, bytes]]:
    if colour is None:
        return [("other", b"1")] if number % 2 else []
    return [("baggage", b"a=1, x-lane=" + colour)] if number % 3 == 0 else [("x-lane", colour)]


def shown(written: dict[int, tuple[bytes, bytes | None]], lane: bytes | None) -> dict[int, bytes]:
    if lane is None:
        return {offset: value for offset, (value, colour) in written.items() if colour not in (b"blue", b"green")}
    return {offset: value for offset, (value, colour) in written.items() if colour == lane}


async def test_every_lane_sees_its_records_only_at_their_offsets(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    through = mesh(LANES)
    await asyncio.gather(*(compare_lanes(kafka, through, codec) for codec in CODECS))


async def compare_lanes(kafka: Kafka, through: Mesh, codec: str) -> None:
    topic = f"lanes-{codec}"
    await asyncio.to_thread(kafka.create_topic, topic, partitions=1)
    written: dict[int, tuple[bytes, bytes | None]] = {}
    producer = Producer({"bootstrap.servers": through.bootstrap, "linger.ms": 5, "compression.type": codec, "enable.idempotence": True})
    # Mixed batches, then batches of one colour, of which a baseline and a lane see nothing; the last one is such, too.
    for colours in (COLOURS * 20, [b"blue"] * 30, [None] * 30, [b"green"] * 30):
        for number, colour in enumerate(colours):
            value = f"{codec} {colour} {number} ".encode() * 5

            def told(error: KafkaError | None, sent: object, value: bytes = value, colour: bytes | None = colour) -> None:
                assert error is None
                written[sent.offset()] = (value, colour)

            producer.produce(topic, value=value, partition=0, headers=headers(number, colour), on_delivery=told)
        assert await asyncio.to_thread(producer.flush, DEADLINE_S) == 0
    assert len(written) == 230
    lanes = {"baseline": None, "blue-1": b"blue", "green-1": b"green"}
    seen = await asyncio.gather(*(asyncio.to_thread(read, through.bootstrap, topic, client) for client in lanes))
    assert seen == [shown(written, lane) for lane in lanes.values()]
    assert len(await asyncio.to_thread(read, kafka.bootstrap()[0], topic)) == 230
    if codec in ("none", "gzip"):  # aiokafka has the others in an extra
        for client, lane in (("baseline", None), ("blue-1", b"blue")):
            assert await read_aio(through.bootstrap, topic, client) == shown(written, lane), client


async def test_lanes_keep_to_transactions(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("lanes-once", partitions=1)
    through = mesh(LANES)
    blue = [("x-lane", b"blue")]
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, transactional_id="lanes-1") as producer:
        for number in range(6):
            await producer.begin_transaction()
            await producer.send("lanes-once", b"%d blue" % number, headers=blue)
            await producer.send("lanes-once", b"%d" % number)
            await (producer.abort_transaction() if number % 3 == 1 else producer.commit_transaction())
    for client, expected in (("blue-1", {0: b"0 blue", 6: b"2 blue", 9: b"3 blue", 15: b"5 blue"}), ("x", {1: b"0", 7: b"2", 10: b"3", 16: b"5"})):
        assert await read_aio(through.bootstrap, "lanes-once", client) == expected
        assert await asyncio.to_thread(read, through.bootstrap, "lanes-once", client) == expected


async def test_lanes_begin_and_end_under_a_consumer_that_has_a_fetch_session(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("lanes-later", partitions=1)
    through = mesh()
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:

        async def send(value: bytes) -> None:
            await producer.send_and_wait("lanes-later", value, headers=[("x-lane", b"blue")] if b"blue" in value else [])

        options = {"client_id": "baseline", "auto_offset_reset": "earliest"}
        async with AIOKafkaConsumer("lanes-later", bootstrap_servers=through.bootstrap, **options) as consumer, asyncio.timeout(DEADLINE_S):
            await send(b"1 blue")
            assert (await consumer.getone()).value == b"1 blue"
            through.apply(LANES)
            # The fetch that waited at the broker when the rule came was asked for before it.
            await send(b"2")
            assert (await consumer.getone()).value == b"2"
            await send(b"3 blue")
            await send(b"4")
            assert (await consumer.getone()).value == b"4"
            through.apply("")
            await send(b"5 blue")
            assert (await consumer.getone()).value == b"5 blue"


SEALED = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: sealed}}
spec:
  listeners: [events]
  topics: ["sealed*"]
  encryption: {{keysFrom: {{file: "{keys}"}}, rotateAfter: {rotate}}}
"""


def keys(path: Path, *names: str) -> Path:
    """A file of keys that follow from their names."""
    path.write_text("".join(f"{name} {base64.b64encode(name.encode().ljust(32, b'.')).decode()}\n" for name in names))
    return path


async def test_values_are_sealed_at_the_broker_and_open_in_every_codec(kafka: Kafka, mesh: Callable[..., Mesh], tmp_path: Path) -> None:
    for codec in CODECS:
        kafka.create_topic(f"sealed-{codec}", partitions=1)
    kafka.create_topic("open", partitions=1)
    through = mesh(SEALED.format(keys=keys(tmp_path / "keys", "k1"), rotate="1ms"))
    values = [b"secret %d " % number * 9 for number in range(50)]

    def compare(codec: str) -> None:
        topic = f"sealed-{codec}"
        records = [{"value": value, "key": b"k", "headers": [("h", b"v")]} for value in values] + [{"value": None, "key": b"gone"}]
        assert set(outcome(through.bootstrap, topic, records, **{"compression.type": codec, "enable.idempotence": True})) == {0}
        assert set(outcome(through.bootstrap, topic, records[:50])) == {0}  # under another data key
        assert list(read(through.bootstrap, topic).values()) == [*values, None, *values]
        stored = list(read(kafka.bootstrap()[0], topic).values())
        assert stored[-51] is None and not any(b"secret" in value for value in stored if value)

    await asyncio.gather(*(asyncio.to_thread(compare, codec) for codec in CODECS))
    assert outcome(through.bootstrap, "open", [{}]) == [0]
    assert read(kafka.bootstrap()[0], "open") == {0: VALUE}


async def test_keys_rotate_and_who_lacks_one_is_told(kafka: Kafka, mesh: Callable[..., Mesh], tmp_path: Path) -> None:
    kafka.create_topic("sealed-rotate", partitions=1)
    old, both, other = keys(tmp_path / "old", "k1"), keys(tmp_path / "both", "k2", "k1"), keys(tmp_path / "other", "k2")
    through = mesh(SEALED.format(keys=old, rotate="1h"))
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap) as producer:
        await producer.send_and_wait("sealed-rotate", b"first")
        through.apply(SEALED.format(keys=both, rotate="1h"))
        await producer.send_and_wait("sealed-rotate", b"second")
    assert await read_aio(through.bootstrap, "sealed-rotate", "x") == {0: b"first", 1: b"second"}
    through.apply(SEALED.format(keys=other, rotate="1h"))
    with pytest.raises(TopicAuthorizationFailedError):
        await read_aio(through.bootstrap, "sealed-rotate", "x")
    with pytest.raises(AssertionError, match="TOPIC_AUTHORIZATION_FAILED"):
        await asyncio.to_thread(read, through.bootstrap, "sealed-rotate")
    assert through.sidecar.metric("midstream_errors_total", family="kafka", kind="no_key") >= 2


TRACED = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {name: traced}
spec: {listeners: [events], topics: ["traced*"], tracing: {sampledPercent: 0, fetched: true}}
---
apiVersion: midstream/v1
kind: Tap
metadata: {name: log}
spec: {listeners: [events], percent: 100}
"""


async def test_records_without_a_trace_get_one_and_the_access_log_names_them(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    for topic in ("traced", "untraced"):
        kafka.create_topic(topic, partitions=1)
    through = mesh(TRACED)
    own = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = [("traced", [("traceparent", own), ("tracestate", b"a=1")]), ("traced", [("h", b"v"), ("tracestate", b"a=1")]), ("untraced", [])]
    async with AIOKafkaProducer(bootstrap_servers=through.bootstrap, enable_idempotence=True, compression_type="gzip") as producer:
        for topic, given in sent:
            await producer.send_and_wait(topic, b"value", key=b"key", headers=given)
    found = {}
    async with AIOKafkaConsumer("traced", "untraced", bootstrap_servers=through.bootstrap, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < 3:
                record = await consumer.getone()
                assert (record.key, record.value) == (b"key", b"value")
                found[record.topic, record.offset] = dict(record.headers)
    begun = found["traced", 1].pop("traceparent")
    assert found == {("traced", 0): {"traceparent": own, "tracestate": b"a=1"}, ("traced", 1): {"h": b"v"}, ("untraced", 0): {}}
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", begun)
    ids = {own.split(b"-")[1].decode(), begun.split(b"-")[1].decode()}

    def logged(verb: str) -> set[str]:
        lines = [json.loads(line) for line in through.sidecar.log.splitlines() if '"tap":"log"' in line]
        return {trace for line in lines if line["verb"] == verb for trace in line.get("traces", [])}

    wait_until(lambda: logged("Produce") == ids and logged("Fetch") == ids)
