"""Which sidecar holds which object, in its author's terms."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from mesh_core.compile.blame import Blame, authored_path
from mesh_core.model.kinds import Authored
from xds.server.hub import Connection, Hub
from xds.server.status import ResourceState, State, resource_states

# An object is as well off as the worst of its resources.
_WORST_FIRST = (State.NACKED, State.QUARANTINED, State.STALE, State.SENT, State.ACKED)


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object on one sidecar. Place, field and reason are of the refusal, or of the object where there is none."""

    kind: str
    name: str
    state: State
    version: str
    file: str
    line: int
    field: str = ""
    reason: str = ""


def sidecars(hub: Hub, blame_for: Callable[[str], Blame], node: str = "") -> list[dict]:
    """Every node that is or was connected, or the one named, with all its objects, as JSON. `blame_for` knows whose a node's resources are."""
    found = [(name, connection) for name, connection in sorted(hub.nodes.items()) if node in ("", name)]
    return [_sidecar(hub, blame_for(name), name, connection) for name, connection in found]


def _sidecar(hub: Hub, blame: Blame, name: str, connection: Connection) -> dict:
    objects = [asdict(state) for state in object_states(hub, blame, connection)]
    found = {"node": name, "connected": connection.open, "peer": connection.peer, "since": connection.since, "objects": objects}
    report = connection.report
    if report is not None:
        found["report"] = {"instance": report.instance, "workers": report.workers, "series": dict(report.series)}
    return found


def object_states(hub: Hub, blame: Blame, connection: Connection) -> list[ObjectState]:
    """The objects of one node, by kind and name."""
    by_owner: dict[tuple[str, str], list[tuple[Authored, ResourceState]]] = {}
    for state in resource_states(hub, connection):
        item = blame.owner(state.type_url, state.name)
        if item is not None:
            by_owner.setdefault(item.owner.key, []).append((item.owner, state))
    return [_object_state(blame, owned) for _, owned in sorted(by_owner.items())]


def _object_state(blame: Blame, owned: list[tuple[Authored, ResourceState]]) -> ObjectState:
    owner, worst = min(owned, key=lambda pair: _WORST_FIRST.index(pair[1].state))
    main = next((state for _, state in reversed(owned) if state.name == owner.name), worst)
    document = owner.document
    if worst.state not in (State.NACKED, State.QUARANTINED):
        return ObjectState(owner.kind, owner.name, worst.state, main.version, document.file, document.line_of("metadata.name"))
    item = blame.owner(worst.type_url, worst.name)
    path = authored_path(item, worst.field) if item else worst.field
    return ObjectState(owner.kind, owner.name, worst.state, worst.version, document.file, document.line_of(path), path, worst.reason)


def counts(objects: list[dict]) -> Iterator[tuple[State, int]]:
    """How many objects are in each state, worst first, without the states nobody is in."""
    for state in _WORST_FIRST:
        count = sum(1 for found in objects if found["state"] == state)
        if count:
            yield state, count
