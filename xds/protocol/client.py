"""The client's side of an ADS stream, whatever its variant: what is held, what was asked for, what is to be applied.

    requests = client.connected(now)            a stream is open: send these
    requests = client.receive(response, now)    a response came; send these, mostly none
    requests = client.tick(now)                 at `client.alarm`, while that is not None: names that nobody answered do not exist; send these
    update = client.expire(now)                 at `client.expiry`, with or without a stream: what nobody renewed is to be dropped
    update = client.take(force=...)             what is to be applied, once the push is complete
    requests = client.applied(update, refusals) send these: one ACK or NACK per response of the update
    client.disconnected()                       what is held stays held (C2)

Responses of one push are applied together. A delta server's `system_version_info` may be the version of the whole set, as ours is, and then the
client knows when it has all of it. A server that means something else by that field, or has none, is followed too: the caller takes with force after
a short silence.

A client has types it wants all of, and types of which it wants what is referred to (C8). With such types it asks for one type after the other, each
when the one before has been answered with everything it refers to; without, for all at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.messages import message
from xds.protocol.errors import ResourceError
from xds.protocol.report import INVALID_ARGUMENT, Refused, error_of
from xds.protocol.resource import set_version

Key = tuple[str, str]  # type URL, name

# A name that was asked for and not answered is taken not to exist after this (C4), and a type not to be known to the server.
DOES_NOT_EXIST_AFTER_S = 15.0


@dataclass(frozen=True, slots=True)
class Held:
    """A resource as a client has it. `version` is the server's."""

    type_url: str
    name: str
    version: str
    value: bytes


@dataclass(slots=True)
class Response:
    """One response that waits for its ACK or NACK."""

    type_url: str
    nonce: str
    names: tuple[str, ...]
    version: str = ""  # of the whole response, in the state of the world
    malformed: str = ""  # why nothing of it can be applied


@dataclass(slots=True)
class Update:
    """What changes for the client, of one or more responses. A key is in `changed` or in `removed`, never in both."""

    changed: dict[Key, Held] = field(default_factory=dict)
    removed: set[Key] = field(default_factory=set)
    responses: list[Response] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class Item:
    """One resource of a response; without a value it only says that what is held still holds (a heartbeat)."""

    name: str
    version: str
    value: bytes | None
    ttl_s: float = 0


# What a resource refers to.
References = Callable[[Held], Iterable[Key]]


def refers_to_nothing(_: Held) -> Iterable[Key]:
    return ()


class Client(ABC):
    """`type_urls` are wanted whole, `named` as far as `references` of the others say so. `held` is what is in force: it survives streams and is the
    caller's to store."""

    def __init__(
        self,
        node: Message,
        type_urls: Iterable[str],
        held: Iterable[Held] = (),
        *,
        named: Iterable[str] = (),
        references: References = refers_to_nothing,
        patience_s: float = DOES_NOT_EXIST_AFTER_S,
    ):
        self.node = node
        self.type_urls = tuple(type_urls)
        self.named = frozenset(named)
        self.held: dict[Key, Held] = {(item.type_url, item.name): item for item in held}
        self.refused: dict[Key, Refused] = {}
        self.absent: set[Key] = set()  # asked for by name, and said or taken not to exist
        self.errors: dict[Key, ResourceError] = {}  # said by the server (D10)
        self.expiries: dict[Key, float] = {}  # until when what has a TTL holds; it runs on without a stream (C9)
        self.references = references
        self.patience_s = patience_s
        self._begin()

    def connected(self, now: float = 0.0) -> list[Message]:
        """The first requests of a stream. They say what is held, so that only the differences come (C7)."""
        self._begin()
        self.absent.clear()
        requests = self._advance(now)
        requests[0].node.CopyFrom(self.node)
        return requests

    def disconnected(self) -> None:
        """Nothing is removed because a stream broke (C2); an update that was not applied comes again."""
        self._begin()

    def receive(self, response: Message, now: float = 0.0) -> list[Message]:
        """Take a response in; what it refers to is asked for."""
        url = response.type_url
        taken = Response(url, response.nonce, ())
        self._pending.responses.append(taken)
        if url not in self._opened:
            return []  # not asked for: acknowledged, not used (C5)
        items, removed = self._read(response, taken)
        taken.names = tuple(item.name for item in items)
        if len(set(taken.names)) != len(taken.names):
            taken.malformed = "a name occurs twice in one response"
        if taken.malformed:
            return []
        self._unanswered.pop(url, None)
        self._answered = True
        lost = [item.name for item in items if self._is_asked((url, item.name)) and not self._take_in(url, item, now)]
        for name in removed:
            self._remove((url, name))
        for error in response.resource_errors:
            self._take_error(ResourceError(url, error.resource_name.name, error.error_detail.code, error.error_detail.message))
        return [*self._advance(now), *([self.refresh(url, lost)] if lost else [])]

    @property
    def alarm(self) -> float | None:
        """When `tick` has something to do. A server that has answered nothing yet may be slow with everything."""
        return min((*self._asked.values(), *(self._unanswered.values() if self._answered else ())), default=None)

    def tick(self, now: float) -> list[Message]:
        """Names that were not answered in time do not exist (C4); of types that were not, what is held stays."""
        late = [key for key, until in self._asked.items() if until <= now]
        for key in late:
            del self._asked[key]
            self._remove(key)
        unknown = [url for url, until in self._unanswered.items() if self._answered and until <= now]
        for url in unknown:
            del self._unanswered[url]
        return self._advance(now) if late or unknown else []

    @property
    def expiry(self) -> float | None:
        """When `expire` has something to do."""
        return min(self.expiries.values(), default=None)

    def expire(self, now: float) -> Update | None:
        """What was not renewed is dropped (C9): tell it with `applied` once it is."""
        late = {key for key, until in self.expiries.items() if until <= now}
        for key in late:
            del self.expiries[key]
            self._offered.pop(key, None)
            self._pending.changed.pop(key, None)
        return Update(removed=late) if late else None

    @property
    def waiting(self) -> bool:
        """Something was received that `take` would give with force."""
        return bool(self._pending.responses or self._pending) and (self._started or self._is_complete() or self._has_all_announced())

    def take(self, *, force: bool = False) -> Update | None:
        """The update to apply now, or None while more of it is to come.

        Before every type, and every name the first answers refer to, has been answered once nothing is taken, even with force: a listener must not
        open before its rules are known.
        """
        if not self.waiting or not (force or self._has_all_announced()):
            return None
        self._started = True
        if not force:
            self._unanswered.clear()  # a server of ours says nothing of types that are empty
        update, self._pending = self._pending, Update()
        return update

    def applied(self, update: Update, refusals: Iterable[Refused]) -> list[Message]:
        """What of the update holds now, and the requests that say so. Good resources are kept beside refused ones (C6)."""
        refused = {(item.type_url, item.name): item for item in refusals}
        for key, item in update.changed.items():
            self.refused.pop(key, None)
            if key in refused:
                self.refused[key] = refused[key]
            else:
                self.held[key] = item
        for key in update.removed:
            self.held.pop(key, None)
            self.refused.pop(key, None)
        return [self._answer(response, _error(response, refused)) for response in update.responses]

    @abstractmethod
    def refresh(self, type_url: str, names: Iterable[str]) -> Message:
        """Ask for resources again that are held or were refused: the server must send them, and their new answer corrects the status.

        For what was refused for a reason outside the resource (an address in use, a secret missing) and may have passed, or has arisen since.
        """

    @abstractmethod
    def _first(self, type_url: str, names: Iterable[str]) -> Message:
        """The first request of a type on a stream; for all of it when it is not one of the named."""

    @abstractmethod
    def _change(self, type_url: str, new: list[str], old: list[str]) -> Message:
        """A change of the names asked for."""

    @abstractmethod
    def _read(self, response: Message, taken: Response) -> tuple[list[Item], list[str]]:
        """What a response has, and the names it takes away. Says in `taken` what is wrong with it."""

    @abstractmethod
    def _answer(self, response: Response, error: Message | None) -> Message:
        """An ACK, or a NACK (C1, C3)."""

    def _has_all_announced(self) -> bool:
        return False

    def _begin(self) -> None:
        self._pending = Update()
        self._opened: list[str] = []  # types asked for on this stream, in order
        self._unanswered: dict[str, float] = {}  # of these -> until when they may be
        self._answered = False  # the server has answered something
        self._names: dict[str, set[str]] = {url: set() for url in self.named}
        self._asked: dict[Key, float] = {}  # names that were not answered yet -> until when they may be
        self._offered: dict[Key, Held] = dict(self.held)  # what the server has given, taken or not
        self._started = False  # something was taken from this stream

    def _is_asked(self, key: Key) -> bool:
        return key[0] not in self.named or key[1] in self._names[key[0]]

    def _is_complete(self) -> bool:
        return self._knows_all() and not self._asked

    def _knows_all(self) -> bool:
        """Every type that is wanted whole has been answered on this stream."""
        return not self._unanswered and all(url in self._opened for url in self.type_urls)

    def _advance(self, now: float) -> list[Message]:
        """Ask for what is referred to, and for the next type when all before it is there (C8)."""
        requests = [] if not self.named else self._ask_for_names(now)
        for url in self.type_urls:
            if url in self._opened:
                continue
            if self.named and (self._unanswered or self._asked):
                break
            self._opened.append(url)
            self._unanswered[url] = now + self.patience_s
            requests.append(self._first(url, ()))
        if self.named and requests and self._knows_all():
            requests += self._ask_for_names(now)  # the last types are not waited for: what nothing refers to is known now
        return requests

    def _ask_for_names(self, now: float) -> list[Message]:
        wanted: dict[str, set[str]] = {url: set() for url in self.named}
        for item in self._offered.values():
            # What is held from before counts when this stream has confirmed it.
            if item.type_url in self._opened and item.type_url not in self._unanswered:
                for url, name in self.references(item):
                    if url in wanted:
                        wanted[url].add(name)
        requests = []
        for url in sorted(self.named):
            new, old = sorted(wanted[url] - self._names[url]), sorted(self._names[url] - wanted[url])
            if not new and not old:
                continue
            self._names[url] = wanted[url]
            # What is held is not waited for: a server that has nothing newer need not answer.
            self._asked.update({(url, name): now + self.patience_s for name in new if (url, name) not in self._offered})
            for name in old:
                self._remove((url, name))
            if url in self._opened:
                requests.append(self._change(url, new, old))
            else:
                self._opened.append(url)
                requests.append(self._first(url, new))
        if self._knows_all():  # what is held from before and referred to no longer
            for key in [key for key in self._offered if key[0] in self.named and not self._is_asked(key)]:
                self._remove(key)
        return requests

    def _take_in(self, url: str, item: Item, now: float) -> bool:
        """False for a heartbeat of what has expired here: it must be asked for again."""
        key = (url, item.name)
        self._asked.pop(key, None)
        if item.value is None and key not in self._offered:
            return False
        self.expiries.pop(key, None)
        if item.ttl_s:
            self.expiries[key] = now + item.ttl_s
        if item.value is None:
            return True
        self.absent.discard(key)
        self.errors.pop(key, None)
        new = Held(url, item.name, item.version, item.value)
        self._offered[key] = self._pending.changed[key] = new
        self._pending.removed.discard(key)
        return True

    def _take_error(self, error: ResourceError) -> None:
        """The server cannot give it, now or ever (D10): either way there is nothing to wait for."""
        key = (error.type_url, error.name)
        if key not in self._offered and not (key[0] in self.named and self._is_asked(key)):
            return
        self._asked.pop(key, None)
        self.errors[key] = error
        if not error.may_pass:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        """Also what was refused and so never held: the caller may be waiting for the reason to pass."""
        self._asked.pop(key, None)
        if key[0] in self.named and self._is_asked(key):
            self.absent.add(key)
        else:
            self.absent.discard(key)
            self.errors.pop(key, None)
        known = self._offered.pop(key, None) is not None
        self.expiries.pop(key, None)
        self._pending.changed.pop(key, None)
        if known or key in self.held:
            self._pending.removed.add(key)


class DeltaClient(Client):
    """Of a stream of DeltaDiscoveryRequest and DeltaDiscoveryResponse."""

    _announced = ""

    def refresh(self, type_url: str, names: Iterable[str]) -> Message:
        return self._change(type_url, list(names), [])  # D2

    def _first(self, type_url: str, names: Iterable[str]) -> Message:
        request = self._change(type_url, list(names), [])
        for (url, name), item in self.held.items():
            if url == type_url:
                request.initial_resource_versions[name] = item.version
        return request

    def _change(self, type_url: str, new: list[str], old: list[str]) -> Message:
        return _request(type_url, resource_names_subscribe=new, resource_names_unsubscribe=old)

    def _read(self, response: Message, taken: Response) -> tuple[list[Item], list[str]]:
        self._announced = response.system_version_info
        return [item_of(resource) for resource in response.resources], list(response.removed_resources)

    def _has_all_announced(self) -> bool:
        return set_version((url, name, item.version) for (url, name), item in self._offered.items()) == self._announced

    def _answer(self, response: Response, error: Message | None) -> Message:
        return _request(response.type_url, response_nonce=response.nonce, error_detail=error)


def item_of(resource: Message) -> Item:
    """Of an envoy.service.discovery.v3.Resource."""
    value = resource.resource.value if resource.HasField("resource") else None
    ttl_s = resource.ttl.seconds + resource.ttl.nanos / 1e9 if resource.HasField("ttl") else 0
    return Item(resource.name, resource.version, value, ttl_s)


def _request(type_url: str, **fields) -> Message:
    return message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(type_url=type_url, **fields)


def _error(response: Response, refused: Mapping[Key, Refused]) -> Message | None:
    """Names every refused resource of this response (C6)."""
    if response.malformed:
        return message("google.rpc.Status")(code=INVALID_ARGUMENT, message=response.malformed)
    bad = [refused[response.type_url, name] for name in response.names if (response.type_url, name) in refused]
    return error_of(bad) if bad else None
