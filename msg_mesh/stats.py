"""The kind KafkaStats: rates by topic, partition and identity, and consumers' lag, in the metrics of a Kafka listener's sidecars."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.values import Spec
from msg_mesh.records import check_kafka_listeners
from xds.messages import message, type_url


class KafkaStatsSpec(Spec):
    """`series`: how many partitions of identities and consumers have numbers of their own."""

    listeners: Annotated[list[str], Field(min_length=1)]
    series: Annotated[int, Field(ge=1, le=100_000)] = 1000


def register(kinds: Kinds) -> None:
    kinds.add(Kind("KafkaStats", KafkaStatsSpec, check_kafka_listeners, compile_stats))


def compile_stats(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.kafka.v1.KafkaStats")(name=owner.name, listeners=spec.listeners, series=spec.series)
    yield Compiled(type_url("midstream.kafka.v1.KafkaStats"), owner.name, result, owner)
