"""The kind KafkaFederation: several KafkaClusters behind one listener."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, Kind, Kinds, World
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Spec
from msg_mesh.virtual import cluster_id
from xds.messages import message, type_url

KIND = "KafkaFederation"
MAX_CLUSTERS = 16  # every Metadata request is asked of all of them
NAMES = ("topics", "groups", "transactional_ids")

# A name, or the beginning of names with * behind it.
Pattern = Annotated[str, StringConstraints(pattern=r"^[^*]+\*?$", max_length=250)]


class FederatedCluster(Spec):
    """What belongs to `cluster`, and its brokers' ids in front: broker n is `firstNode` + n."""

    cluster: Name
    first_node: Annotated[int, Field(ge=0, lt=2**31)]
    topics: list[Pattern] = Field(default_factory=list)
    groups: list[Pattern] = Field(default_factory=list)
    transactional_ids: list[Pattern] = Field(default_factory=list)


class KafkaFederationSpec(Spec):
    """The first of `clusters` has what no pattern names. Without `clusterId` one follows from the names."""

    clusters: Annotated[list[FederatedCluster], Field(min_length=1, max_length=MAX_CLUSTERS)]
    cluster_id: Annotated[str, StringConstraints(min_length=1, max_length=249)] | None = None


def register(kinds: Kinds) -> None:
    kinds.add(Kind(KIND, KafkaFederationSpec, check, compile_federation))


def check(found: Authored, world: World) -> Iterable[Problem]:
    """Every name belongs to one cluster, and every node in front is one broker."""
    for other in ("KafkaCluster", "KafkaVirtualCluster"):
        if world.get(other, found.name):
            yield found.problem("metadata.name", f"{found.name} is a {other}, too, and a Listener's backend would be either", "rename one")
    yield from _clusters(found, world)
    for field, authored in (("topics", "topics"), ("groups", "groups"), ("transactional_ids", "transactionalIds")):
        yield from _patterns(found, field, authored)


def _clusters(found: Authored, world: World) -> Iterator[Problem]:
    known: set[str] = set()
    first = -1
    logins = []
    for at, member in enumerate(found.spec.clusters):
        where = f"spec.clusters[{at}]"
        yield from reference(found, f"{where}.cluster", "KafkaCluster", member.cluster, world)
        if member.cluster in known:
            yield found.problem(f"{where}.cluster", f"{member.cluster} stands there twice", "keep one of the two")
        if member.first_node <= first:
            reason = f"{member.first_node} is not above {first}, where the cluster before begins"
            yield found.problem(f"{where}.firstNode", reason, "give each cluster room for its brokers' ids, in ascending order")
        known.add(member.cluster)
        first = member.first_node
        cluster = world.get("KafkaCluster", member.cluster)
        logins.append(cluster is not None and cluster.spec.credentials is not None)
    if len(set(logins)) > 1:
        reason = "some have credentials and some have none, and a client's own could be told to one cluster only"
        yield found.problem("spec.clusters", reason, "give all of them credentials, or none")


def _patterns(found: Authored, field: str, authored: str) -> Iterator[Problem]:
    known: dict[str, str] = {}
    for at, member in enumerate(found.spec.clusters):
        for pattern in getattr(member, field):
            if pattern in known:
                reason = f"{pattern!r} is said to be in {known[pattern]} already"
                yield found.problem(f"spec.clusters[{at}].{authored}", reason, "a name belongs to one cluster; remove one of the two")
            known[pattern] = member.cluster


def compile_federation(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    result = message("midstream.kafka.v1.KafkaFederation")(
        name=owner.name, cluster_id=spec.cluster_id or cluster_id(spec.clusters[0].cluster, owner.name)
    )
    for member in spec.clusters:
        named = {field: getattr(member, field) for field in NAMES}
        result.clusters.add(cluster=member.cluster, first_node=member.first_node, **named)
    yield Compiled(type_url("midstream.kafka.v1.KafkaFederation"), owner.name, result, owner)
