"""The server's side of an incremental (delta) stream."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.protocol import wire
from xds.protocol.names import normal
from xds.protocol.resource import EMPTY_CHUNK, MAX_BODY_BYTES, Resource, TypeSet
from xds.protocol.stream import TTL_FEATURE, Outgoing, ServerStream, TypeState, Verdict, check_names
from xds.protocol.subscription import Subscription


class DeltaStream(ServerStream):
    """Requests are envoy.service.discovery.v3.DeltaDiscoveryRequest, responses DeltaDiscoveryResponse."""

    def receive(self, request: Message) -> Verdict | None:
        """Raises StreamError."""
        subscribe = [*request.resource_names_subscribe, *(locator.name for locator in request.resource_locators_subscribe)]
        unsubscribe = [*request.resource_names_unsubscribe, *(locator.name for locator in request.resource_locators_unsubscribe)]
        check_names(len(subscribe) + len(request.initial_resource_versions))
        state, first = self._state(request)
        verdict = self._answer(state, request)
        # Changes count whatever the nonce, unlike in the state of the world (D1).
        self.may_owe = self._begun and bool(first or subscribe or unsubscribe or verdict is None or verdict.refused is not None)
        if first:
            self._begin(state.subscription, subscribe, request.initial_resource_versions)
        else:
            state.subscription.subscribe(subscribe)
        state.subscription.unsubscribe(unsubscribe)
        check_names(len(state.subscription.names))
        return verdict

    @property
    def sends_ttl(self) -> bool:
        return TTL_FEATURE in self._features

    def _begin(self, subscription: Subscription, names: list[str], versions: Iterable[str]) -> None:
        """What the client brings from an earlier stream is held: it is sent the differences, and what vanished meanwhile (D6)."""
        held = {normal(name): versions[name] for name in versions}
        if not names:
            subscription.start_wildcard()
        subscription.subscribe(names)
        subscription.forced = subscription.forced - held.keys()
        subscription.holds = {name: version for name, version in held.items() if subscription.wants(name)}

    def _made(self, state: TypeState, target: TypeSet) -> Iterable[Outgoing]:
        """system_version_info is the snapshot's version: for debugging to any client (D7), and to ours the sign that a push is complete."""
        subscription = state.subscription
        version = self.snapshot.version
        difference = subscription.due(target)
        # Names that never existed are answered at once (D3); the first answer to a wildcard is owed even when empty.
        unknown = tuple(name for name in difference.removed if not subscription.holds_name(name))
        if difference.removed:
            state.gone = {name for name in difference.removed if subscription.holds_name(name)} | (state.gone or set())
        for chunk in difference.chunks:
            yield Outgoing(subscription, chunk, version)
        empty = subscription.answer_due and not difference and not self._needs_no_answer(subscription)
        if unknown or difference.errors or empty:
            yield Outgoing(subscription, EMPTY_CHUNK, version, unknown, difference.errors)
        self._warm(difference.changed)

    def _needs_no_answer(self, subscription: Subscription) -> bool:
        """Whether the client learns from the rest that there is nothing to say of this type.

        Its last one is always answered, so that there is an answer. Where the client has not asked for all there is, or keeps what is withheld, what
        it has does not give the announced version.
        """
        if self._last_type in ("", subscription.type_url):
            return False
        return all(url in self.types or not found.resources for url, found in self.snapshot.types.items()) and not self.snapshot.has_errors

    def _broken(self, state: TypeState, target: TypeSet, gone: list[str]) -> Iterable[Outgoing]:
        return [Outgoing(state.subscription, EMPTY_CHUNK, self.snapshot.version, part) for part in _slices(gone)]

    def _heartbeat(self, state: TypeState, alive: tuple[Resource, ...]) -> Outgoing:
        return Outgoing(state.subscription, EMPTY_CHUNK, self.snapshot.version, alive=alive)

    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        return b"".join(
            (
                wire.field(1, outgoing.version),
                outgoing.chunk.delta_ttl_body if self.sends_ttl else outgoing.chunk.delta_body,
                *(resource.heartbeat(wrapped=False) for resource in outgoing.alive),
                wire.field(4, outgoing.subscription.type_url),
                wire.field(5, nonce),
                *(wire.field(6, name) for name in outgoing.removed),
                *(error.frame(9) for error in outgoing.errors),
            )
        )


def _slices(names: list[str]) -> list[tuple[str, ...]]:
    """Cut a list of names so that each part stays below MAX_BODY_BYTES."""
    parts: list[tuple[str, ...]] = []
    current: list[str] = []
    size = 0
    for name in names:
        length = len(name.encode()) + 8
        if current and size + length > MAX_BODY_BYTES:
            parts.append(tuple(current))
            current, size = [], 0
        current.append(name)
        size += length
    if current:
        parts.append(tuple(current))
    return parts
