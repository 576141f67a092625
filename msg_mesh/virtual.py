"""The kind KafkaVirtualCluster: one tenant's view of a KafkaCluster."""

import base64
import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, StringConstraints

from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Spec
from xds.messages import message, type_url

KIND = "KafkaVirtualCluster"
MAX_PREFIX = 100  # topics' names have 249 characters at most, and the tenant wants some of them

TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
FreeName = Annotated[str, StringConstraints(min_length=1, max_length=249)]


class Aliases(Spec):
    """Names in front, and what they are called behind."""

    topics: dict[TopicName, TopicName] = Field(default_factory=dict)
    groups: dict[FreeName, FreeName] = Field(default_factory=dict)
    transactional_ids: dict[FreeName, FreeName] = Field(default_factory=dict)


class KafkaVirtualClusterSpec(Spec):
    """Everything of the cluster whose name begins with `prefix`, without it, and the `aliases`. Without `clusterId` one follows from the names."""

    cluster: Name
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=MAX_PREFIX)]
    aliases: Aliases = Field(default_factory=Aliases)
    cluster_id: Annotated[str, StringConstraints(min_length=1, max_length=249)] | None = None


def register(kinds: Kinds) -> None:
    kinds.add(Kind(KIND, KafkaVirtualClusterSpec, check, compile_virtual_cluster, together=True))


def check(found: Authored, world: World) -> Iterable[Problem]:
    """Tenants of one cluster are apart: no prefix begins with another, as one tenant would see the other's names."""
    spec = found.spec
    yield from reference(found, "spec.cluster", "KafkaCluster", spec.cluster, world)
    if world.get("KafkaCluster", found.name):
        yield found.problem("metadata.name", f"{found.name} is a KafkaCluster, too, and a Listener's backend would be either", "rename one")
    for other in world.all(KIND):
        if other is found:
            break
        if other.spec.cluster == spec.cluster and _overlap(spec.prefix, other.spec.prefix):
            where = f"{other.document.file}:{other.document.line_of('spec.prefix')}"
            reason = f"{spec.prefix!r} and {other.spec.prefix!r} of {other} ({where}) begin alike: one would see the other's names"
            yield found.problem("spec.prefix", reason, "choose prefixes of which none begins with another")
    for field, aliases in (
        ("topics", spec.aliases.topics),
        ("groups", spec.aliases.groups),
        ("transactionalIds", spec.aliases.transactional_ids),
    ):
        yield from _one_to_one(found, f"spec.aliases.{field}", aliases)


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _one_to_one(found: Authored, field: str, aliases: dict[str, str]) -> Iterable[Problem]:
    known: dict[str, str] = {}
    for name, behind in aliases.items():
        if behind.startswith(found.spec.prefix):
            yield found.problem(f"{field}.{name}", f"{behind} has the prefix, so it has a name in front already", "remove it")
        elif behind in known:
            yield found.problem(f"{field}.{name}", f"{behind} is {known[behind]} already", "keep one of the two")
        known[behind] = name


def cluster_id(cluster: str, virtual: str) -> str:
    """22 characters, as Kafka's own are; the same on every sidecar, because it follows from the names alone."""
    digest = hashlib.sha256(f"{cluster}/{virtual}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def compile_virtual_cluster(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.kafka.v1.KafkaVirtualCluster")(
        name=owner.name,
        cluster=spec.cluster,
        prefix=spec.prefix,
        cluster_id=spec.cluster_id or cluster_id(spec.cluster, owner.name),
        topics=spec.aliases.topics,
        groups=spec.aliases.groups,
        transactional_ids=spec.aliases.transactional_ids,
    )
    yield Compiled(type_url("midstream.kafka.v1.KafkaVirtualCluster"), owner.name, result, owner)
