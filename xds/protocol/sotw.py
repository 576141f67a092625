"""The server's side of a state-of-the-world stream."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.protocol import wire
from xds.protocol.resource import EMPTY_CHUNK, Chunk, Resource, Snapshot, TypeSet
from xds.protocol.stream import Outgoing, ServerStream, TypeState, Verdict, check_names
from xds.protocol.subscription import WILDCARD, Subscription
from xds.protocol.types import COMPLETE_TYPES


class SotwStream(ServerStream):
    """Requests are envoy.service.discovery.v3.DiscoveryRequest, responses DiscoveryResponse."""

    def __init__(self, snapshot: Snapshot):
        super().__init__(snapshot)
        self._sent: dict[str, dict[str, Resource]] = {}  # of the complete types: what the last response contained

    def receive(self, request: Message) -> Verdict | None:
        """Raises StreamError."""
        check_names(len(request.resource_names))
        state, first = self._state(request)
        verdict = self._answer(state, request)
        if request.response_nonce != state.last_nonce and state.last_nonce:
            return verdict  # stale: its names count for nothing, they come again with the answer to the newer response (W2)
        self._names(state.subscription, request)
        if first:
            self._resume(state.subscription, request)
        return verdict

    def _answer(self, state: TypeState, request: Message) -> Verdict | None:
        """error_detail alone tells a NACK from an ACK (S4)."""
        if request.HasField("error_detail"):
            return state.refuse(request.response_nonce, request.error_detail)
        return state.acknowledge(request.response_nonce)

    def _names(self, subscription: Subscription, request: Message) -> None:
        """The request's names are the whole subscription; what is new among them must be sent (W3)."""
        names = set(request.resource_names)
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
        gone = subscription.names - names
        for name in gone:
            subscription.names.discard(name)
            if not subscription.wildcard and isinstance(subscription.holds, dict):
                subscription.holds.pop(name, None)
        new = names - subscription.names
        subscription.subscribe(sorted(new))
        if new:
            subscription.answer_due = True

    def _resume(self, subscription: Subscription, request: Message) -> None:
        """A wildcard cannot have grown while the client was away, so an equal version needs no resend (W4)."""
        target = self.target(subscription)
        if subscription.wildcard and not subscription.names and request.version_info == target.version:
            subscription.settle(target)
            self._remember(subscription, target)

    def _due(self) -> Iterable[Outgoing]:
        made: list[Outgoing] = []
        broken: list[Outgoing] = []
        for state in self.types.values():
            subscription = state.subscription
            target = self.target(subscription)
            if subscription.is_settled(target):
                continue
            difference = subscription.due(target)
            first = subscription.answer_due and subscription.seen is None
            if subscription.type_url in COMPLETE_TYPES:
                self._complete(subscription, target, made, broken)
            elif difference.changed:
                made += [Outgoing(subscription, chunk, target.version) for chunk in difference.chunks]
            elif first and subscription.wildcard:
                made.append(Outgoing(subscription, EMPTY_CHUNK, target.version))
            self._warm(difference.changed)
            subscription.settle(target)
        return made + broken[::-1]

    def _complete(self, subscription: Subscription, target: TypeSet, made: list, broken: list) -> None:
        """All of the subscription in one response: absence deletes (W1).

        What goes is kept in a first response and left out of a second, which is sent after everything that refers to it was changed (S10).
        """
        before = self._sent.get(subscription.type_url)
        now = self._remember(subscription, target)
        if before is None:
            made.append(Outgoing(subscription, _joined(now), target.version))
            return
        grown = any(name not in before or before[name].version != resource.version for name, resource in now.items())
        gone = {name: resource for name, resource in before.items() if name not in now and subscription.wants(name)}
        if grown or subscription.forced or (subscription.answer_due and not gone):
            version = f"{target.version}+{len(gone)}" if gone else target.version
            made.append(Outgoing(subscription, _joined(now | gone), version))
        if gone:
            broken.append(Outgoing(subscription, _joined(now), target.version))

    def _remember(self, subscription: Subscription, target: TypeSet) -> dict[str, Resource]:
        now = {name: resource for name, resource in target.resources.items() if subscription.wants(name)}
        if subscription.type_url in COMPLETE_TYPES:
            self._sent[subscription.type_url] = now
        return now

    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        return b"".join(
            (
                wire.field(1, outgoing.version),
                outgoing.chunk.any_body,
                wire.field(4, outgoing.subscription.type_url),
                wire.field(5, nonce),
            )
        )


def _joined(resources: dict[str, Resource]) -> Chunk:
    """One chunk whatever its size: a complete type cannot be cut. Clients of more than 4 MiB of clusters use delta."""
    return Chunk(tuple(resources.values()))
