"""The kind KafkaRecordPolicy: what is asked of the records of a Kafka listener's topics, and done with them."""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from google.protobuf.message import Message
from pydantic import Field, model_validator

from mesh_core.compile.secrets import secret_name
from mesh_core.model.builtin import check_listeners
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.secrets import SecretRef
from mesh_core.model.values import Duration, Percent, Spec, parse_duration_ms
from xds.messages import enum_values, message, type_url

Text = Annotated[str, Field(min_length=1, max_length=1024)]
Bytes = Annotated[int, Field(ge=1, lt=2**31)]
Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]


class Schema(Spec):
    """What keys or values have to be: the schema itself, or where the sidecar reads it; and in front of them, the id of a registry's schema."""

    json_schema: dict[str, Any] | None = None
    json_schema_from: SecretRef | None = None
    framing: Literal["plain", "confluent"] = "plain"
    ids: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> "Schema":
        if self.json_schema is not None and self.json_schema_from is not None:
            raise ValueError("give one of jsonSchema and jsonSchemaFrom")
        if self.framing == "plain" and self.ids:
            raise ValueError("ids are those in the frames of schema registries; write framing: confluent")
        if self.framing == "plain" and self.json_schema is None and self.json_schema_from is None:
            raise ValueError("asks for nothing; give jsonSchema, jsonSchemaFrom or framing")
        return self


class ProduceRule(Spec):
    """What producers have to keep to."""

    acks: Literal["any", "leader", "all"] = "any"
    compression: list[Codec] = Field(default_factory=list)
    max_batch_bytes: Bytes | None = None
    max_record_bytes: Bytes | None = None
    require_key: bool = False
    require_headers: list[Text] = Field(default_factory=list)
    key: Schema | None = None
    value: Schema | None = None


class Lane(Spec):
    """A client is in it that fits all of its patterns."""

    name: Text
    listeners: list[Text] = Field(default_factory=list)
    identities: list[Text] = Field(default_factory=list)
    client_ids: list[Text] = Field(default_factory=list)


class LaneRule(Spec):
    """`header` says which lane a record belongs to."""

    header: Text = "x-lane"
    lanes: Annotated[list[Lane], Field(min_length=1)]


class Encryption(Spec):
    """`keys_from`: a line NAME BASE64 for each key of 32 bytes, the one in use first."""

    keys_from: SecretRef
    rotate_after: Duration = "1h"
    rotate_bytes: Annotated[int, Field(ge=1, lt=2**63)] = 64 * 2**30


class Tracing(Spec):
    """Records without a trace begin one, of which so many are sampled; with `fetched` the access log names traces of what consumers get, too."""

    sampled_percent: Percent = 100.0
    fetched: bool = False


class KafkaRecordPolicySpec(Spec):
    """Topics are patterns of the names that clients use."""

    listeners: Annotated[list[str], Field(min_length=1)]
    topics: Annotated[list[Text], Field(min_length=1)]
    produce: ProduceRule | None = None
    lanes: LaneRule | None = None
    encryption: Encryption | None = None
    tracing: Tracing | None = None


def register(kinds: Kinds) -> None:
    kinds.add(Kind("KafkaRecordPolicy", KafkaRecordPolicySpec, check, compile_policy))


def check_kafka_listeners(found: Authored, world: World) -> Iterator[Problem]:
    """They are there, and speak Kafka."""
    yield from check_listeners(found, world)
    for index, name in enumerate(found.spec.listeners):
        listener = world.get("Listener", name)
        if listener is not None and listener.spec.protocol != "kafka":
            yield found.problem(f"spec.listeners[{index}]", f"Listener {name} speaks {listener.spec.protocol}", "name a kafka listener")


def check(found: Authored, world: World) -> Iterator[Problem]:
    yield from check_kafka_listeners(found, world)
    spec = found.spec
    if spec.produce is None and spec.lanes is None and spec.encryption is None and spec.tracing is None:
        yield found.problem("spec", "has no rule", "add produce, lanes, encryption or tracing, or remove it")
    if spec.encryption is not None and parse_duration_ms(spec.encryption.rotate_after) == 0:
        yield found.problem("spec.encryption.rotateAfter", "makes a data key for every batch", "give at least 1ms")
    for index, lane in enumerate(spec.lanes.lanes if spec.lanes else ()):
        if not (lane.listeners or lane.identities or lane.client_ids):
            advice = "say whose lane it is: listeners, identities or clientIds"
            yield found.problem(f"spec.lanes.lanes[{index}]", "fits every client", advice)


def compile_policy(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.kafka.v1.KafkaRecordPolicy")(name=owner.name, listeners=spec.listeners, topics=spec.topics)
    if spec.produce is not None:
        _produce(result.produce, spec.produce)
        for part in ("key", "value"):
            _schema(getattr(result.produce, part), owner, part, getattr(spec.produce, part))
    if spec.lanes is not None:
        result.lanes.header = spec.lanes.header
        for lane in spec.lanes.lanes:
            result.lanes.lanes.add(name=lane.name, listeners=lane.listeners, identities=lane.identities, client_ids=lane.client_ids)
    if spec.encryption is not None:
        result.encryption.keys_secret = secret_name(owner, "spec.encryption.keysFrom", spec.encryption.keys_from)
        result.encryption.rotate_after_ms = parse_duration_ms(spec.encryption.rotate_after)
        result.encryption.rotate_bytes = spec.encryption.rotate_bytes
    if spec.tracing is not None:
        result.tracing.SetInParent()
        result.tracing.sampled_percent, result.tracing.fetched = spec.tracing.sampled_percent, spec.tracing.fetched
    yield Compiled(type_url("midstream.kafka.v1.KafkaRecordPolicy"), owner.name, result, owner)


def _produce(result: Message, rule: ProduceRule) -> None:
    result.SetInParent()
    result.acks = enum_values("midstream.kafka.v1.ProduceRule.Acks")[rule.acks.upper()]
    result.compression.extend(rule.compression)
    result.max_batch_bytes = rule.max_batch_bytes or 0
    result.max_record_bytes = rule.max_record_bytes or 0
    result.require_key = rule.require_key
    result.require_headers.extend(rule.require_headers)


def _schema(result: Message, owner: Authored, part: str, schema: Schema | None) -> None:
    if schema is None:
        return
    result.framing = schema.framing.upper()
    result.ids.extend(schema.ids)
    if schema.json_schema_from is not None:
        result.json_schema_secret = secret_name(owner, f"spec.produce.{part}.jsonSchemaFrom", schema.json_schema_from)
    elif schema.json_schema is not None:
        result.json_schema = json.dumps(schema.json_schema, default=str)  # what YAML takes for a date is a text in JSON
