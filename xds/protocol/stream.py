"""The server's side of one xDS stream, whatever its variant.

    receive(request) -> Verdict | None     the client acknowledged or refused a response
    offer(snapshot)                        what this client could be given has changed
    poll() -> bytes | None                 the next response; None: nothing to send now

The machine holds references to shared sets and no serialised bytes, so a stream costs little, and a slow client costs no more: what it has
not taken yet is compared with the newest snapshot when it comes back for more.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.protocol.report import Refused, refusals_of
from xds.protocol.resource import Chunk, Resource, Snapshot, TypeSet
from xds.protocol.subscription import Subscription
from xds.protocol.types import push_rank

# Logical streams on one ADS stream. Envoy uses about 12, we 11; more is a client inventing type URLs.
MAX_TYPES = 64
# Names a client may subscribe to of one type: ten times the largest configuration we aim at.
MAX_NAMES = 100_000


# Responses of one type that a client may leave unanswered before we forget the oldest; only its status suffers.
MAX_PENDING = 64


class StreamError(Exception):
    """The client broke a rule that cannot be answered within the protocol; the stream ends with INVALID_ARGUMENT and this text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The client's answer to one response: an ACK when `refused` is None."""

    type_url: str
    names: tuple[str, ...]
    refused: dict[str, Refused] | None = None


@dataclass(slots=True)
class Outgoing:
    """A response that is decided but not serialised yet."""

    subscription: Subscription
    chunk: Chunk
    version: str  # delta: of the snapshot; state of the world: of the type's resources
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class TypeState:
    """One logical stream: its subscription, the responses in flight, and what the client refused."""

    subscription: Subscription
    pending: dict[str, Chunk] = field(default_factory=dict)  # by nonce, oldest first
    refused: dict[str, Refused] = field(default_factory=dict)
    last_nonce: str = ""

    def acknowledge(self, nonce: str) -> Verdict | None:
        chunk = self.pending.pop(nonce, None)
        if chunk is None:
            return None
        names = tuple(resource.name for resource in chunk.resources)
        if self.refused:
            for name in names:
                self.refused.pop(name, None)
        return Verdict(self.subscription.type_url, names)

    def refuse(self, nonce: str, error: Message) -> Verdict | None:
        chunk = self.pending.pop(nonce, None)
        if chunk is None:
            return None
        refused = refusals_of(error, self.subscription.type_url, chunk.resources)
        names = tuple(resource.name for resource in chunk.resources)
        for name in names:
            self.refused.pop(name, None)
        self.refused |= refused
        return Verdict(self.subscription.type_url, names, refused)


class ServerStream(ABC):
    """What both variants have in common. Subclasses read requests, plan what is due and write responses."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot
        self.node: Message | None = None
        self.types: dict[str, TypeState] = {}
        self._queue: deque[Outgoing] = deque()
        self._nonce = 0

    def offer(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def poll(self) -> bytes | None:
        """The next response, serialised. What is in flight is remembered by its nonce."""
        if not self._queue:
            self._queue.extend(self._due())
        if not self._queue:
            return None
        outgoing = self._queue.popleft()
        self._nonce += 1
        nonce = str(self._nonce)
        state = self.types[outgoing.subscription.type_url]
        state.pending[nonce] = outgoing.chunk
        if len(state.pending) > MAX_PENDING:
            del state.pending[next(iter(state.pending))]
        state.last_nonce = nonce
        return self._write(outgoing, nonce)

    def target(self, subscription: Subscription) -> TypeSet:
        return self.snapshot.types.get(subscription.type_url, subscription.nothing)

    @abstractmethod
    def receive(self, request: Message) -> Verdict | None:
        """Take a request in. Raises StreamError."""

    @abstractmethod
    def _due(self) -> Iterable[Outgoing]:
        """What the client must be given to hold the snapshot, in order; it counts as given."""

    @abstractmethod
    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        """The response on the wire."""

    def _state(self, request: Message) -> tuple[TypeState, bool]:
        """The logical stream of a request and whether it is its first."""
        if self.node is None and request.HasField("node"):
            self.node = request.node  # only the first request is sure to carry it (S2)
        if not request.type_url:
            raise StreamError("the request has no type_url; on ADS every request must name one")
        found = self.types.get(request.type_url)
        if found is not None:
            return found, False
        if len(self.types) >= MAX_TYPES:
            raise StreamError(f"more than {MAX_TYPES} resource types on one stream")
        new = TypeState(Subscription(request.type_url))
        self.types[request.type_url] = new
        self.types = dict(sorted(self.types.items(), key=lambda item: push_rank(item[0])))
        return new, True

    def _warm(self, resources: Iterable[Resource]) -> None:
        """A client waits for what a changed resource refers to, so that is answered again even if unchanged (S9).

        Only explicit names: a client under the wildcard has no request of its own to wait for.
        """
        for resource in resources:
            for type_url, name in resource.warms:
                state = self.types.get(type_url)
                if state is not None and name in state.subscription.names:
                    state.subscription.forced.add(name)
                    state.subscription.told_absent.discard(name)


def check_names(count: int) -> None:
    if count > MAX_NAMES:
        raise StreamError(f"{count} names in one request; at most {MAX_NAMES}")
