"""The server's side of one xDS stream, whatever its variant.

    receive(request) -> Verdict | None     the client acknowledged or refused a response
    offer(snapshot)                        what this client could be given has changed
    poll() -> bytes | None                 the next response; None: nothing to send now
    heartbeat()                            to be called every `heartbeat_every_s`, while that is not None (S11)
    stop_waiting()                         to be called `MAX_WAIT_S` after `waiting` became true (S10)

The machine holds references to shared sets and no serialised bytes, so a stream costs little, and a slow client costs no more: what it has
not taken yet is compared with the newest snapshot when it comes back for more.

Make before break (S10): what is new goes out by rank; removals follow in the opposite order. Between a new cluster and what refers to it the stream
waits until the client has asked for the cluster's endpoints and got them, if it asks for endpoints by name: until then the cluster takes no traffic.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.protocol.errors import ResourceError
from xds.protocol.report import Refused, names_the_refused, refusals_of
from xds.protocol.resource import EMPTY_CHUNK, Chunk, Resource, Snapshot, TypeSet
from xds.protocol.subscription import Subscription
from xds.protocol.types import CLUSTER, ENDPOINTS, push_rank

# Logical streams on one ADS stream. Envoy uses about 12, we 11; more is a client inventing type URLs.
MAX_TYPES = 64
# Names a client may subscribe to of one type: ten times the largest configuration we aim at.
MAX_NAMES = 100_000


# Responses of one type that a client may leave unanswered before we forget the oldest; only its status suffers.
MAX_PENDING = 64

# A client asks for the endpoints of a new cluster within milliseconds, or never.
MAX_WAIT_S = 1.0
# Heartbeats per TTL: two may be lost or late.
HEARTBEATS_PER_TTL = 3

TTL_FEATURE = "xds.config.supports-resource-ttl"
# Of our clients, with a type URL behind it: the stream asks for every type that it will want at once, that one last, and takes the announced
# version of the whole set for the sign that it has all. It is told nothing of empty types: most are, and each would cost an answer and an ACK.
LAST_TYPE_FEATURE = "midstream.last-type:"
# The protocol's page and gRPC spell it differently.
WRAPPING_FEATURES = frozenset({"xds.config.supports-resource-in-sotw", "xds.config.resource-in-sotw"})


class StreamError(Exception):
    """The client broke a rule that cannot be answered within the protocol; the stream ends with INVALID_ARGUMENT and this text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The client's answer to one response: an ACK when `refused` is None. Where it is not `exact`, one of the refused or several are meant."""

    type_url: str
    resources: tuple[Resource, ...]
    refused: dict[str, Refused] | None = None
    exact: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(resource.name for resource in self.resources)


@dataclass(slots=True)
class Outgoing:
    """A response that is decided but not serialised yet."""

    subscription: Subscription
    chunk: Chunk
    version: str  # delta: of the snapshot; state of the world: of the type's resources
    removed: tuple[str, ...] = ()
    errors: tuple[ResourceError, ...] = ()
    alive: tuple[Resource, ...] = ()  # sent as heartbeats


@dataclass(slots=True)
class TypeState:
    """One logical stream: its subscription, the responses in flight, and what the client refused."""

    subscription: Subscription
    pending: dict[str, Chunk] = field(default_factory=dict)  # by nonce, oldest first
    refused: dict[str, Refused] = field(default_factory=dict)
    last_nonce: str = ""
    gone: set[str] | None = None  # names whose removal is still to be sent
    taken: Chunk = EMPTY_CHUNK  # of the last response that was acknowledged

    def acknowledge(self, nonce: str) -> Verdict | None:
        chunk = self.pending.pop(nonce, None)
        if chunk is None:
            return None
        if self.refused:
            for resource in chunk.resources:
                self.refused.pop(resource.name, None)
        self.taken = chunk
        return Verdict(self.subscription.type_url, chunk.resources)

    def refuse(self, nonce: str, error: Message) -> Verdict | None:
        chunk = self.pending.pop(nonce, None)
        if chunk is None:
            return None
        exact = names_the_refused(error)
        refused = refusals_of(error, self.subscription.type_url, chunk.resources if exact else self._new_in(chunk))
        for resource in chunk.resources:
            self.refused.pop(resource.name, None)
        self.refused |= refused
        return Verdict(self.subscription.type_url, chunk.resources, refused, exact)

    def _new_in(self, chunk: Chunk) -> tuple[Resource, ...]:
        """In the state of the world a response repeats what the client took before: that is not what it refuses now."""
        taken = {resource.name: resource.version for resource in self.taken.resources}
        return tuple(found for found in chunk.resources if taken.get(found.name) != found.version) or chunk.resources


class ServerStream(ABC):
    """What both variants have in common. Subclasses read requests and say what a type's responses are."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot
        self.node: Message | None = None
        self.types: dict[str, TypeState] = {}
        self._queue: deque[Outgoing] = deque()
        self._nonce = 0
        self._features: frozenset[str] = frozenset()
        self._refers = False  # one of the types may refer to clusters
        self._last_type = ""  # where the client says which it will ask for last
        self._begun = True  # it has asked for that
        self.may_owe = True  # False after a request that can have changed nothing
        self._awaited: set[str] = set()  # endpoints the client is expected to ask for before anything may refer to their clusters

    def offer(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def disown(self, type_url: str, names: Iterable[str]) -> None:
        """The client did not take these: what is offered next is sent even where it is the same."""
        self.types[type_url].subscription.disown(names)

    def repeat(self, type_url: str) -> None:
        """Send of this type what the client does not hold, though nothing has changed."""
        self.types[type_url].subscription.seen = None

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

    @property
    def waiting(self) -> bool:
        """Something is held back until the client has asked for endpoints, or for all that it is going to ask for."""
        return bool(self._awaited) or not self._begun

    def stop_waiting(self) -> None:
        self._awaited.clear()
        self._begun = True

    @property
    def heartbeat_every_s(self) -> float | None:
        """None for a client that knows no TTL, or is given nothing that has one."""
        if not self.sends_ttl:
            return None
        held = [state.subscription for state in self.types.values() if state.subscription.seen is not None and state.subscription.seen.mortal]
        alive = [resource.ttl_s for subscription in held for resource in self._alive(subscription)]
        return min(alive) / HEARTBEATS_PER_TTL if alive else None

    def heartbeat(self) -> None:
        """Tell the client that what has a TTL still holds."""
        for state in self.types.values():
            if self.sends_ttl and (alive := self._alive(state.subscription)):
                self._queue.append(self._heartbeat(state, alive))

    @property
    @abstractmethod
    def sends_ttl(self) -> bool:
        """The client has said that it understands TTLs, in the way this variant carries them."""

    @abstractmethod
    def receive(self, request: Message) -> Verdict | None:
        """Take a request in. Raises StreamError."""

    @abstractmethod
    def _made(self, state: TypeState, target: TypeSet) -> Iterable[Outgoing]:
        """The responses that bring what is new of a type, and what refers to nothing. Fills `state.gone`."""

    @abstractmethod
    def _broken(self, state: TypeState, target: TypeSet, gone: list[str]) -> Iterable[Outgoing]:
        """The responses that take `gone` away."""

    @abstractmethod
    def _heartbeat(self, state: TypeState, alive: tuple[Resource, ...]) -> Outgoing:
        """The response that renews the TTL of these."""

    @abstractmethod
    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        """The response on the wire."""

    def _due(self) -> Iterable[Outgoing]:
        """What the client must be given to hold the snapshot, in order; it counts as given (S10)."""
        due: list[Outgoing] = []
        if not self._begun or not self._is_behind():
            return due
        if self._awaited:
            self._awaited &= self._endpoints()
        for state in self.types.values():
            subscription = state.subscription
            if subscription.type_url == ENDPOINTS:
                self._awaited -= subscription.names
            elif self._awaited and _may_refer(subscription.type_url):
                return due
            target = self.target(subscription)
            if not subscription.is_settled(target):
                due += self._made(state, target)
                subscription.settle(target)
        if self._awaited:
            return due
        for state in reversed(self.types.values()):
            if state.gone:
                subscription = state.subscription
                gone = sorted(name for name in state.gone if subscription.wants(name) and not subscription.holds_name(name))
                state.gone = None
                due += self._broken(state, self.target(subscription), gone) if gone else ()
        return due

    def _is_behind(self) -> bool:
        """Asked of every stream at every change, twice: of the calls that make it up none is affordable."""
        targets = self.snapshot.types
        for state in self.types.values():
            found = state.subscription
            if found.seen is not targets.get(found.type_url, found.nothing) or found.forced or found.answer_due or state.gone:
                return True
        return bool(self._awaited)

    def _alive(self, subscription: Subscription) -> tuple[Resource, ...]:
        """What the client was given and has a TTL."""
        held = subscription.seen
        if held is None or not held.mortal:
            return ()
        return tuple(resource for resource in held.mortal if subscription.wants(resource.name))

    def _state(self, request: Message) -> tuple[TypeState, bool]:
        """The logical stream of a request and whether it is its first."""
        if self.node is None and request.HasField("node"):
            self.node = request.node  # only the first request is sure to carry it (S2)
            self._features = frozenset(request.node.client_features)
            self._last_type = next((found.removeprefix(LAST_TYPE_FEATURE) for found in self._features if found.startswith(LAST_TYPE_FEATURE)), "")
            self._begun = not self._last_type
        if not request.type_url:
            raise StreamError("the request has no type_url; on ADS every request must name one")
        found = self.types.get(request.type_url)
        if found is not None:
            return found, False
        if len(self.types) >= MAX_TYPES:
            raise StreamError(f"more than {MAX_TYPES} resource types on one stream")
        self._refers = self._refers or _may_refer(request.type_url)
        self._begun = self._begun or request.type_url == self._last_type
        new = TypeState(Subscription(request.type_url))
        self.types[request.type_url] = new
        self.types = dict(sorted(self.types.items(), key=lambda item: push_rank(item[0])))
        return new, True

    def _answer(self, state: TypeState, request: Message) -> Verdict | None:
        """Several responses may be in flight; the nonce says which is meant, and error_detail alone says what (S4)."""
        if not request.HasField("error_detail"):
            return state.acknowledge(request.response_nonce)
        refused = state.pending.get(request.response_nonce, EMPTY_CHUNK)
        self._awaited -= {name for resource in refused.resources for _, name in resource.warms}
        return state.refuse(request.response_nonce, request.error_detail)

    def _warm(self, resources: Iterable[Resource]) -> None:
        """A client waits for what a changed resource refers to, so that is answered again even if unchanged (S9).

        Only explicit names: a client under the wildcard has no request of its own to wait for.
        """
        for resource in resources:
            for type_url, name in resource.warms:
                state = self.types.get(type_url)
                if state is not None and name in state.subscription.names:
                    state.subscription.force({name})
                elif resource.type_url == CLUSTER and type_url == ENDPOINTS:
                    self._await(name, state)

    def _await(self, name: str, state: TypeState | None) -> None:
        """Where nothing on this stream can refer to clusters there is nothing to hold back, and what has no endpoints is not waited for."""
        asked = state is not None and state.subscription.wants(name)
        if self._refers and not asked and name in self._endpoints():
            self._awaited.add(name)

    def _endpoints(self) -> Set[str]:
        known = self.snapshot.types.get(ENDPOINTS)
        return known.resources.keys() if known else frozenset()


def _may_refer(type_url: str) -> bool:
    return push_rank(type_url) > push_rank(ENDPOINTS)


def check_names(count: int) -> None:
    if count > MAX_NAMES:
        raise StreamError(f"{count} names in one request; at most {MAX_NAMES}")
