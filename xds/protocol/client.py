"""The client's side of a delta ADS stream.

    requests = client.connected()            a stream is open: send these
    client.receive(response)                 a response came
    update = client.take(force=...)          what is to be applied, once the push is complete
    requests = client.applied(update, refusals)    send these: one ACK or NACK per response of the update
    client.disconnected()                    what is held stays held (C2)

Responses of one push are applied together. Their `system_version_info` is the version of the whole set, so the client knows when it has all of it.
A server that means something else by that field, or nothing, is followed too: the caller takes with force after a short silence.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.messages import message
from xds.protocol.report import INVALID_ARGUMENT, Refused, error_of
from xds.protocol.resource import set_version

Key = tuple[str, str]  # type URL, name


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
    malformed: str = ""  # why nothing of it can be applied


@dataclass(slots=True)
class Update:
    """What changes for the client, of one or more responses. A key is in `changed` or in `removed`, never in both."""

    changed: dict[Key, Held] = field(default_factory=dict)
    removed: set[Key] = field(default_factory=set)
    responses: list[Response] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class DeltaClient:
    """Subscribes to all resources of each of its types. `held` is what is in force: it survives streams and is the caller's to store."""

    def __init__(self, node: Message, type_urls: Iterable[str], held: Iterable[Held] = ()):
        self.node = node
        self.type_urls = tuple(type_urls)
        self.held: dict[Key, Held] = {(item.type_url, item.name): item for item in held}
        self._begin()

    def connected(self) -> list[Message]:
        """The first request of each type. It says what is held, so that only the differences come (C7)."""
        self._begin()
        requests = []
        for type_url in self.type_urls:
            request = _request(type_url)
            for (url, name), item in self.held.items():
                if url == type_url:
                    request.initial_resource_versions[name] = item.version
            requests.append(request)
        requests[0].node.CopyFrom(self.node)
        return requests

    def disconnected(self) -> None:
        """Nothing is removed because a stream broke (C2); an update that was not applied comes again."""
        self._begin()

    def receive(self, response: Message) -> None:
        names = [resource.name for resource in response.resources]
        taken = Response(response.type_url, response.nonce, tuple(names))
        self._pending.responses.append(taken)
        if response.type_url not in self.type_urls:
            return  # not asked for: acknowledged, not used (C5)
        if len(set(names)) != len(names):
            taken.malformed = "a name occurs twice in one response"
            return
        self._unanswered.discard(response.type_url)
        self._announced = response.system_version_info
        for resource in response.resources:
            self._change(response.type_url, resource)
        for name in response.removed_resources:
            self._remove((response.type_url, name))

    @property
    def waiting(self) -> bool:
        """Something was received that `take` would give with force."""
        return bool(self._pending.responses) and not self._unanswered

    def take(self, *, force: bool = False) -> Update | None:
        """The update to apply now, or None while more of it is to come.

        Before every type has been answered once nothing is taken, even with force: a listener must not open before its rules are known.
        """
        if not self.waiting:
            return None
        if not force and set_version((url, name, version) for (url, name), version in self._received.items()) != self._announced:
            return None
        update, self._pending = self._pending, Update()
        return update

    def applied(self, update: Update, refusals: Iterable[Refused]) -> list[Message]:
        """What of the update holds now, and the requests that say so. Good resources are kept beside refused ones (C6)."""
        refused = {(item.type_url, item.name): item for item in refusals}
        for key, item in update.changed.items():
            if key not in refused:
                self.held[key] = item
        for key in update.removed:
            self.held.pop(key, None)
        return [_answer(response, refused) for response in update.responses]

    def refresh(self, type_url: str, names: Iterable[str]) -> Message:
        """Ask for resources again that are held or were refused: the server must send them (D2), and their new answer corrects the status.

        For what was refused for a reason outside the resource (an address in use, a secret missing) and may have passed, or has arisen since.
        """
        request = _request(type_url)
        request.resource_names_subscribe.extend(names)
        return request

    def _begin(self) -> None:
        self._pending = Update()
        self._unanswered = set(self.type_urls)
        self._announced = ""
        self._received: dict[Key, str] = {key: item.version for key, item in self.held.items()}

    def _change(self, type_url: str, resource: Message) -> None:
        key = (type_url, resource.name)
        self._received[key] = resource.version
        self._pending.changed[key] = Held(type_url, resource.name, resource.version, resource.resource.value)
        self._pending.removed.discard(key)

    def _remove(self, key: Key) -> None:
        """Also what was refused and so never held: the caller may be waiting for the reason to pass."""
        known = self._received.pop(key, None) is not None
        self._pending.changed.pop(key, None)
        if known or key in self.held:
            self._pending.removed.add(key)


def _request(type_url: str) -> Message:
    return message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(type_url=type_url)


def _answer(response: Response, refused: Mapping[Key, Refused]) -> Message:
    """An ACK, or a NACK that names every refused resource of this response (C1, C3, C6)."""
    request = _request(response.type_url)
    request.response_nonce = response.nonce
    bad = [refused[response.type_url, name] for name in response.names if (response.type_url, name) in refused]
    if response.malformed:
        request.error_detail.code = INVALID_ARGUMENT
        request.error_detail.message = response.malformed
    elif bad:
        request.error_detail.CopyFrom(error_of(bad))
    return request
