"""Schemas of records: what does not fit is refused, record by record, and the broker never sees it."""

from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaError

from mesh_core._dataplane import validate
from mesh_core.lab import Kafka
from tests.integration.kafka.conftest import Mesh
from tests.integration.kafka.test_records import outcome, read
from tests.unit.mesh_core.shop import SHOP, compiled

POLICY = """
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {name: orders}
spec:
  listeners: [events]
  topics: ["orders*"]
  produce:
    key: {jsonSchemaFrom: {file: %s}}
    value:
      jsonSchema:
        type: object
        required: [id]
        properties: {id: {type: integer}}
"""

GOOD = {"key": b'"k"', "value": b'{"id": 7}'}


def test_what_does_not_fit_its_schema_is_refused(kafka: Kafka, mesh: Callable[..., Mesh], tmp_path: Path) -> None:
    kafka.create_topic("orders-json", partitions=1)
    (tmp_path / "key.json").write_text('{"type": "string"}')
    through = mesh(POLICY % (tmp_path / "key.json"))
    wrong = [b'{"id": "7"}', b"{}", b'{"id": 7', b""]
    for value in wrong:
        assert outcome(through.bootstrap, "orders-json", [GOOD, {**GOOD, "value": value}]) == [KafkaError.INVALID_RECORD] * 2, value
    assert outcome(through.bootstrap, "orders-json", [{**GOOD, "key": b"7"}]) == [KafkaError.INVALID_RECORD]
    for options in ({}, {"enable.idempotence": True}):
        assert outcome(through.bootstrap, "orders-json", [GOOD, {**GOOD, "key": None}, {**GOOD, "value": None}], **options) == [0, 0, 0]
    assert read(kafka.bootstrap()[0], "orders-json") == dict(enumerate([GOOD["value"], GOOD["value"], None] * 2))


def test_a_topic_without_a_schema_takes_anything(kafka: Kafka, mesh: Callable[..., Mesh], tmp_path: Path) -> None:
    kafka.create_topic("anything", partitions=1)
    (tmp_path / "key.json").write_text("true")
    through = mesh(POLICY % (tmp_path / "key.json"))
    assert outcome(through.bootstrap, "anything", [{"value": b"\xff"}]) == [0]


def test_ids_of_a_registrys_schemas_are_those_of_the_policy(kafka: Kafka, mesh: Callable[..., Mesh]) -> None:
    kafka.create_topic("framed", partitions=1)
    value = "{framing: confluent, ids: [7], jsonSchema: {type: object}}"
    through = mesh(
        f"""
---
apiVersion: midstream/v1
kind: KafkaRecordPolicy
metadata: {{name: framed}}
spec: {{listeners: [events], topics: [framed], produce: {{value: {value}}}}}
"""
    )
    good = b"\0\0\0\0\x07{}"
    for wrong in (b"{}", b"\0\0\0\0\x08{}", b"\0\0\0\0\x07[]"):
        assert outcome(through.bootstrap, "framed", [{"value": wrong}]) == [KafkaError.INVALID_RECORD], wrong
    assert outcome(through.bootstrap, "framed", [{"value": good}]) == [0]
    assert read(kafka.bootstrap()[0], "framed") == {0: good}


def test_what_is_no_schema_is_refused_at_its_line() -> None:
    text = SHOP + (POLICY % "key.json").replace("integer", "number of things")
    configuration = compiled(text)
    said = [str(configuration.blame.problem(refusal)) for refusal in validate(configuration.tuples()) if refusal.name == "orders"]
    line = text[: text.index("number of things")].count("\n") + 1
    assert len(said) == 1, said
    assert said[0].startswith(f"shop.yaml:{line}: KafkaRecordPolicy orders: spec.produce.value.jsonSchema.properties.id"), said
