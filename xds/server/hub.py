"""Where the current snapshot and the open streams meet.

`publish` only swaps a reference and wakes the streams; each computes what it owes when it is its turn (turns.py), against the newest snapshot. So the
first change goes out at once, and a burst costs a client that is behind one response, not one each.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.protocol.errors import ResourceError
from xds.protocol.prepared import PREPARED
from xds.protocol.resource import Resource, Snapshot, TypeSet
from xds.protocol.stream import MAX_WAIT_S, ServerStream, Verdict
from xds.server.gate import ANYBODY, Denied, Gate, Open, Peer
from xds.server.loads import Loads
from xds.server.quarantine import Quarantine, kind_of
from xds.server.turns import Turns, Wake

# Open streams of one control plane; one of a sidecar takes some 60 KiB. Who comes beyond is sent to another control plane.
MAX_STREAMS = 20_000
# Nodes that are gone and still shown by `status`. The oldest are forgotten first.
MAX_DEPARTED = 10_000

Listener = Callable[[str, Verdict], None]  # node id, what it answered


@dataclass(slots=True, eq=False)
class Connection:
    """One stream of one node. It outlives the stream, for the status of a node that is gone."""

    peer: str
    stream: ServerStream
    node: str = ""
    kind: str = ""  # of client, by its name and version
    since: float = field(default_factory=time.time)  # seconds since the epoch; when it came, then when it went
    open: bool = True
    wake: Wake = field(default_factory=Wake)
    report: Message | None = None  # what the node told last of itself, a midstream.status.v1.Report
    who: Peer = ANYBODY
    denied: Denied | None = None  # why it was ended


@dataclass(frozen=True, slots=True)
class Trial:
    """What some nodes are given instead."""

    snapshot: Snapshot
    cohort: Callable[[str], bool]


class Hub:
    """One per control plane, on one event loop."""

    def __init__(self, *, max_wait_s: float = MAX_WAIT_S, gate: Gate | None = None) -> None:
        self.gate: Gate = gate or Open()
        self.max_wait_s = max_wait_s  # of a stream for its client's questions (S10)
        self.snapshot = Snapshot()
        self.trial: Trial | None = None
        self.turns = Turns()
        self.nodes: dict[str, Connection] = {}  # by node id: its newest stream
        self._prepared: tuple[Resource, ...] = ()
        self._open: set[Connection] = set()
        self.loads = Loads()
        self.quarantine = Quarantine(self.snapshot_for, self._offer, self._offer_all)
        self._listeners: list[Listener] = []

    def publish(self, resources: Iterable[Resource], errors: Iterable[ResourceError] = ()) -> Snapshot:
        """Make these the whole configuration of every node that tries nothing else. `errors` say of resources that are not in it why not."""
        before, self.snapshot = self.snapshot, Snapshot((*resources, *self._prepared), errors=errors, previous=self.snapshot)
        self.quarantine.published(before, self.snapshot)
        self._changed()
        return self.snapshot

    def prepare(self, prepared: Resource | None) -> None:
        """Give this to all beside what they have, through every `publish`; None: no longer."""
        self._prepared = (prepared,) if prepared is not None else ()
        self.snapshot = self.snapshot.with_sets({PREPARED: TypeSet(PREPARED, self._prepared)})
        self._changed()

    def flip(self, resources: Iterable[Resource]) -> Snapshot:
        """`publish`, and with it nothing is prepared any more."""
        self._prepared = ()
        return self.publish(resources)

    def try_out(self, resources: Iterable[Resource], cohort: Callable[[str], bool]) -> None:
        """Make these the whole configuration of the nodes of a cohort, by their ids, until the trial ends."""
        self.trial = Trial(Snapshot(resources, previous=self.trial.snapshot if self.trial else self.snapshot), cohort)
        self.quarantine.published(self.snapshot, self.trial.snapshot)
        self._changed()

    def end_trial(self) -> None:
        """All are given the same again."""
        self.trial = None
        self._changed()

    def snapshot_for(self, node: str) -> Snapshot:
        return self.trial.snapshot if self.trial is not None and self.trial.cohort(node) else self.snapshot

    def _changed(self) -> None:
        self.quarantine.release((self.snapshot, *((self.trial.snapshot,) if self.trial else ())))
        self._offer_all()

    def _offer_all(self) -> None:
        for connection in self._open:
            self._offer(connection)

    def _offer(self, connection: Connection) -> None:
        snapshot = self.quarantine.view(self.snapshot_for(connection.node), connection)
        if connection.stream.snapshot is not snapshot:
            connection.stream.offer(snapshot)
            connection.wake.set()

    def on_verdict(self, listener: Listener) -> Callable[[], None]:
        """Have it called with every answer; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def is_full(self) -> bool:
        return len(self._open) >= MAX_STREAMS

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def received(self, connection: Connection, verdict: Verdict | None) -> None:
        """A request was read: the stream may owe something now, and its node may be known now."""
        if not connection.node and connection.stream.node is not None:
            connection.node = connection.stream.node.id or connection.peer
            self.nodes.pop(connection.node, None)
            self.nodes[connection.node] = connection
            connection.kind = kind_of(connection.stream.node)
            self._offer(connection)
        if connection.stream.may_owe:
            connection.wake.set()
        if verdict is not None:
            self.quarantine.judged(connection, verdict)
            for listener in self._listeners:
                listener(connection.node, verdict)

    def node(self, name: str) -> Message | None:
        """What a node has told of itself."""
        connection = self.nodes.get(name)
        return connection.stream.node if connection is not None else None

    def told(self, report: Message) -> None:
        """A node tells of itself; of one that has no stream nobody wants to know."""
        connection = self.nodes.get(report.node)
        if connection is not None and connection.open:
            connection.report = report

    def recheck(self) -> None:
        """End the streams of those who would not be let in any more."""
        changed, now = self.gate.has_changed(), time.time()
        for connection in [found for found in self._open if changed or found.who.expires <= now]:
            try:
                connection.who.require_still(connection.stream.node)
            except Denied as denied:
                connection.denied, connection.open = denied, False
                connection.wake.set()

    def end_all(self) -> None:
        """End every stream in an orderly way, before the server stops."""
        for connection in self._open:
            connection.open = False
            connection.wake.set()

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.quarantine.closed(connection)
        connection.open = False
        connection.since = time.time()
        if len(self.nodes) - len(self._open) > MAX_DEPARTED:
            departed = next((name for name, found in self.nodes.items() if not found.open), None)
            self.nodes.pop(departed or "", None)
