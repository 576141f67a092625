"""Rules that look into records, on a virtual cluster: they go by the names of its clients, whatever the topics are called behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer

from mesh_core.lab import Kafka
from tests.integration.kafka.test_librdkafka import DEADLINE_S
from tests.integration.kafka.test_records import GOOD, VALUE, keys, outcome, read, read_aio
from tests.integration.kafka.test_virtual import Tenant, tenants  # noqa: F401

# Of tenant one alone; the other has topics of the same names.
RULES = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: sealed}}
spec: {{listeners: [one], topics: ["sealed*"], encryption: {{keysFrom: {{file: "{keys}"}}}}}}
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: strict}}
spec: {{listeners: [one], topics: ["strict"], produce: {{acks: all, requireHeaders: [traceparent]}}}}
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: lanes}}
spec: {{listeners: [one], topics: ["lanes"], lanes: {{lanes: [{{name: blue, clientIds: ["blue"]}}]}}}}
"""


@pytest.fixture
def ruled(tenants: Callable[..., list[Tenant]], tmp_path: Path) -> list[Tenant]:  # noqa: F811
    return tenants("sealed-alias: legacy-sealed", RULES.format(keys=keys(tmp_path / "keys", "k1")))


async def test_values_are_sealed_under_the_physical_names_too(kafka: Kafka, ruled: list[Tenant]) -> None:
    one, two = ruled
    topics = {"sealed": "physical-one.sealed", "sealed-alias": "legacy-sealed"}
    for topic, physical in topics.items():
        kafka.create_topic(physical, partitions=1)
        assert outcome(one.bootstrap, topic, [GOOD, {"value": None, "key": b"gone"}], **{"compression.type": "gzip"}) == [0, 0]
        assert read(one.bootstrap, topic) == {0: VALUE, 1: None}
        assert await read_aio(one.bootstrap, topic, "aio") == {0: VALUE, 1: None}
        stored = read(kafka.bootstrap()[0], physical)
        assert stored[1] is None and VALUE not in (stored[0] or b"")
    kafka.create_topic("physical-two.sealed", partitions=1)
    assert outcome(two.bootstrap, "sealed", [GOOD]) == [0]
    assert read(kafka.bootstrap()[0], "physical-two.sealed") == {0: VALUE}


def test_a_policy_knows_the_names_of_the_clients_and_so_do_its_errors(kafka: Kafka, ruled: list[Tenant]) -> None:
    one, two = ruled
    for name in ("physical-one.strict", "physical-one.open", "physical-two.strict"):
        kafka.create_topic(name, partitions=1)
    assert outcome(one.bootstrap, "strict", [{}]) == [KafkaError.INVALID_RECORD]
    assert outcome(one.bootstrap, "strict", [GOOD]) == [0]
    assert outcome(two.bootstrap, "strict", [{}]) == [0]
    # Topics with rules and without in one request, in a transaction.
    producer = Producer({"bootstrap.servers": one.bootstrap, "transactional.id": "till", "linger.ms": 100})
    producer.init_transactions(DEADLINE_S)
    producer.begin_transaction()
    for topic in ("strict", "open"):
        producer.produce(topic, value=VALUE, **GOOD)
    producer.commit_transaction(DEADLINE_S)
    assert read(one.bootstrap, "strict") == {0: VALUE, 1: VALUE}
    assert read(kafka.bootstrap()[0], "physical-one.open") == {0: VALUE}


async def test_a_lane_is_seen_under_the_clients_name(kafka: Kafka, ruled: list[Tenant]) -> None:
    one, two = ruled
    for tenant in ("one", "two"):
        kafka.create_topic(f"physical-{tenant}.lanes", partitions=1)
    records = [{"value": b"blue", "headers": [("x-lane", b"blue")]}, {"value": b"plain"}]
    for tenant in (one, two):
        assert outcome(tenant.bootstrap, "lanes", records) == [0, 0]
    assert read(one.bootstrap, "lanes", "blue") == await read_aio(one.bootstrap, "lanes", "blue") == {0: b"blue"}
    assert read(one.bootstrap, "lanes") == await read_aio(one.bootstrap, "lanes", "any") == {1: b"plain"}
    assert read(two.bootstrap, "lanes", "blue") == {0: b"blue", 1: b"plain"}
