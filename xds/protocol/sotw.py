"""The server's side of a state-of-the-world stream."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.protocol import wire
from xds.protocol.errors import ResourceError, not_found
from xds.protocol.names import normal
from xds.protocol.resource import EMPTY_CHUNK, Chunk, Difference, Resource, Snapshot, TypeSet
from xds.protocol.stream import TTL_FEATURE, WRAPPING_FEATURES, Outgoing, ServerStream, TypeState, Verdict, check_names
from xds.protocol.subscription import WILDCARD, Subscription
from xds.protocol.types import COMPLETE_TYPES


class SotwStream(ServerStream):
    """Requests are envoy.service.discovery.v3.DiscoveryRequest, responses DiscoveryResponse."""

    def __init__(self, snapshot: Snapshot):
        super().__init__(snapshot)
        self._sent: dict[str, dict[str, Resource]] = {}  # of the complete types: what the last response contained

    def receive(self, request: Message) -> Verdict | None:
        """Raises StreamError."""
        names = [*request.resource_names, *(locator.name for locator in request.resource_locators)]
        check_names(len(names))
        state, first = self._state(request)
        verdict = self._answer(state, request)
        if request.response_nonce != state.last_nonce and state.last_nonce:
            return verdict  # stale: its names count for nothing, they come again with the answer to the newer response (W2)
        self._names(state.subscription, set(map(normal, names)))
        if first:
            self._resume(state.subscription, request)
        return verdict

    @property
    def sends_ttl(self) -> bool:
        return TTL_FEATURE in self._features and not WRAPPING_FEATURES.isdisjoint(self._features)

    def disown(self, type_url: str, names: Iterable[str]) -> None:
        super().disown(type_url, names)
        for name in names:
            self._sent.get(type_url, {}).pop(name, None)

    def _names(self, subscription: Subscription, names: set[str]) -> None:
        """The request's names are the whole subscription; what is new among them must be sent (W3)."""
        if not names and not subscription.explicit:
            if not subscription.wildcard:
                subscription.start_wildcard()
            return
        if WILDCARD in names:
            names.discard(WILDCARD)
            subscription.explicit = True
            if not subscription.wildcard:
                subscription.start_wildcard()
        elif subscription.wildcard:
            subscription.unsubscribe((WILDCARD,))
        subscription.forget(subscription.names - names)
        new = names - subscription.names
        subscription.subscribe(sorted(new))
        if new:
            subscription.answer_due = True

    def _resume(self, subscription: Subscription, request: Message) -> None:
        """A wildcard cannot have grown while the client was away, so an equal version needs no resend (W4)."""
        target = self.target(subscription)
        if subscription.wildcard and not subscription.names and request.version_info == target.version:
            subscription.settle(target)
            if subscription.type_url in COMPLETE_TYPES:
                self._sent[subscription.type_url] = self._selection(subscription, target)

    def _made(self, state: TypeState, target: TypeSet) -> Iterable[Outgoing]:
        subscription = state.subscription
        difference = subscription.due(target)
        first = subscription.answer_due and subscription.seen is None
        if subscription.type_url in COMPLETE_TYPES:
            yield from self._complete(state, target, difference)
        else:
            errors = _errors(subscription, difference)
            for chunk in difference.chunks:
                yield Outgoing(subscription, chunk, target.version)
            if errors or (first and subscription.wildcard and not difference.changed):
                yield Outgoing(subscription, EMPTY_CHUNK, target.version, errors=errors)
        self._warm(difference.changed)

    def _complete(self, state: TypeState, target: TypeSet, difference: Difference) -> Iterable[Outgoing]:
        """All of the subscription in one response: absence deletes (W1).

        What goes is kept in a first response and left out of a second, which is sent after everything that refers to it was changed (S10).
        """
        subscription = state.subscription
        before = self._sent.get(subscription.type_url)
        now = self._selection(subscription, target)
        if before is None:
            self._sent[subscription.type_url] = now
            yield Outgoing(subscription, _joined(now), target.version, errors=difference.errors)
            return
        grown = any(name not in before or before[name].version != resource.version for name, resource in now.items())
        gone = {name: resource for name, resource in before.items() if name not in now and subscription.wants(name)}
        state.gone = set(gone)
        self._sent[subscription.type_url] = now | gone
        if grown or subscription.forced or difference.errors or (subscription.answer_due and not gone):
            version = f"{target.version}+{len(gone)}" if gone else target.version
            yield Outgoing(subscription, _joined(now | gone), version, errors=difference.errors)

    def _broken(self, state: TypeState, target: TypeSet, gone: list[str]) -> Iterable[Outgoing]:
        """Of the partial types absence means nothing, so nothing is sent (W1)."""
        subscription = state.subscription
        if subscription.type_url not in COMPLETE_TYPES:
            return ()
        now = self._sent[subscription.type_url] = self._selection(subscription, target)
        return (Outgoing(subscription, _joined(now), target.version),)

    def _selection(self, subscription: Subscription, target: TypeSet) -> dict[str, Resource]:
        """The whole subscription, with what is withheld as it was last sent (D10)."""
        now = {name: resource for name, resource in target.resources.items() if subscription.wants(name)}
        if target.withheld:
            before = self._sent.get(subscription.type_url, {})
            now |= {name: before[name] for name in sorted(target.withheld & before.keys()) if subscription.wants(name)}
        return now

    def _heartbeat(self, state: TypeState, alive: tuple[Resource, ...]) -> Outgoing:
        """A complete type is renewed as a whole, because what a response leaves out is deleted (W1)."""
        subscription = state.subscription
        version = self.target(subscription).version if subscription.seen is None else subscription.seen.version
        if subscription.type_url in COMPLETE_TYPES:
            return Outgoing(subscription, _joined(self._sent[subscription.type_url]), version)
        return Outgoing(subscription, EMPTY_CHUNK, version, alive=alive)

    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        return b"".join(
            (
                wire.field(1, outgoing.version),
                outgoing.chunk.any_ttl_body if self.sends_ttl else outgoing.chunk.any_body,
                *(resource.heartbeat(wrapped=True) for resource in outgoing.alive),
                wire.field(4, outgoing.subscription.type_url),
                wire.field(5, nonce),
                *(error.frame(7) for error in outgoing.errors),
            )
        )


def _errors(subscription: Subscription, difference: Difference) -> tuple[ResourceError, ...]:
    """Of a partial type absence says nothing, so that an asked-for name does not exist is an error of its own (D10)."""
    said = {error.name for error in difference.errors}
    asked = [name for name in difference.removed if name in subscription.forced and name in subscription.names and name not in said]
    return (*difference.errors, *(not_found(subscription.type_url, name) for name in asked))


def _joined(resources: dict[str, Resource]) -> Chunk:
    """One chunk whatever its size: a complete type cannot be cut. Clients of more than 4 MiB of clusters use delta."""
    return Chunk(tuple(resources.values()))
