"""What each node holds of the current snapshot, worked out when asked.

Nothing is stored per node and resource: a node that has everything is one reference to the shared set, whatever its size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from xds.protocol.resource import Resource, TypeSet
from xds.protocol.stream import TypeState
from xds.server.hub import Connection, Hub


class State(StrEnum):
    ACKED = "ACKED"  # in force there
    QUARANTINED = "QUARANTINED"  # refused by another client of its kind, and so held back from it
    NACKED = "NACKED"  # refused there; what the node had before stays in force
    SENT = "SENT"  # not answered yet
    STALE = "STALE"  # the node has not been given this version


@dataclass(frozen=True, slots=True)
class ResourceState:
    type_url: str
    name: str
    version: str
    state: State
    field: str = ""
    reason: str = ""


def resource_states(hub: Hub, connection: Connection) -> Iterator[ResourceState]:
    """One per resource that the node is subscribed to and that exists or was refused, in push order."""
    for type_url, state in connection.stream.types.items():
        target = hub.snapshot_for(connection.node).types.get(type_url, state.subscription.nothing)
        in_flight = {id(resource) for chunk in state.pending.values() for resource in chunk.resources}
        versions = _versions(state)
        for resource in target.resources.values():
            if state.subscription.wants(resource.name):
                yield _held_back(hub, connection, resource) or _state_of(resource, state, versions, in_flight)


def resource_state(connection: Connection, resource: Resource) -> ResourceState:
    """Of one resource on a node that is subscribed to its type."""
    state = connection.stream.types[resource.type_url]
    in_flight = {id(found) for chunk in state.pending.values() for found in chunk.resources}
    return _state_of(resource, state, _versions(state), in_flight)


def _held_back(hub: Hub, connection: Connection, resource: Resource) -> ResourceState | None:
    found = hub.quarantine.found(connection.kind, resource)
    if found is not None:
        own = found.node == connection.node
        state, reason = (State.NACKED, found.reason) if own else (State.QUARANTINED, f"{found.node}: {found.reason}")
        return ResourceState(resource.type_url, resource.name, resource.version, state, found.field, reason)
    if hub.quarantine.is_suspect(connection.kind, resource):
        return ResourceState(resource.type_url, resource.name, resource.version, State.SENT)
    return None


def _state_of(resource: Resource, state: TypeState, versions: dict[str, str], in_flight: set[int]) -> ResourceState:
    refused = state.refused.get(resource.name)
    field = reason = ""
    if id(resource) in in_flight:
        verdict = State.SENT
    elif refused is not None and refused.version == resource.version:
        verdict, field, reason = State.NACKED, refused.field, refused.reason
    elif versions.get(resource.name) == resource.version:
        verdict = State.ACKED
    else:
        verdict = State.STALE
    return ResourceState(resource.type_url, resource.name, resource.version, verdict, field, reason)


def _versions(state: TypeState) -> dict[str, str]:
    holds = state.subscription.holds
    if isinstance(holds, TypeSet):
        return {name: resource.version for name, resource in holds.resources.items()}
    return holds
