"""The server's side of an incremental (delta) stream."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.protocol import wire
from xds.protocol.resource import EMPTY_CHUNK, MAX_BODY_BYTES
from xds.protocol.stream import Outgoing, ServerStream, TypeState, Verdict, check_names
from xds.protocol.subscription import Subscription


class DeltaStream(ServerStream):
    """Requests are envoy.service.discovery.v3.DeltaDiscoveryRequest, responses DeltaDiscoveryResponse."""

    def receive(self, request: Message) -> Verdict | None:
        """Raises StreamError."""
        check_names(len(request.resource_names_subscribe) + len(request.initial_resource_versions))
        state, first = self._state(request)
        verdict = self._answer(state, request)
        # Changes count whatever the nonce, unlike in the state of the world (D1).
        if first:
            self._begin(state.subscription, request)
        else:
            state.subscription.subscribe(request.resource_names_subscribe)
        state.subscription.unsubscribe(request.resource_names_unsubscribe)
        check_names(len(state.subscription.names))
        return verdict

    def _answer(self, state: TypeState, request: Message) -> Verdict | None:
        """Several responses may be in flight; the nonce says which is meant, and error_detail alone says what (S4)."""
        if request.HasField("error_detail"):
            return state.refuse(request.response_nonce, request.error_detail)
        return state.acknowledge(request.response_nonce)

    def _begin(self, subscription: Subscription, request: Message) -> None:
        """What the client brings from an earlier stream is held: it is sent the differences, and what vanished meanwhile (D6)."""
        held = dict(request.initial_resource_versions)
        if not request.resource_names_subscribe:
            subscription.start_wildcard()
        subscription.holds = held
        subscription.subscribe(request.resource_names_subscribe)
        subscription.forced -= held.keys()
        if not subscription.wildcard:
            subscription.holds = {name: version for name, version in held.items() if name in subscription.names}

    def _due(self) -> Iterable[Outgoing]:
        """Everything new in order, then every removal in the opposite order (S10).

        system_version_info is the snapshot's version: for debugging to any client (D7), and to ours the sign that a push is complete.
        """
        made: list[Outgoing] = []
        broken: list[Outgoing] = []
        version = self.snapshot.version
        for state in self.types.values():
            subscription = state.subscription
            target = self.target(subscription)
            if subscription.is_settled(target):
                continue
            difference = subscription.due(target)
            first = subscription.answer_due
            unknown = [name for name in difference.removed if not subscription.holds_name(name)]
            gone = [name for name in difference.removed if subscription.holds_name(name)]
            made += [Outgoing(subscription, chunk, version) for chunk in difference.chunks]
            # Names that never existed are answered at once (D3); the first answer to a wildcard is owed even when empty.
            if unknown or (first and not difference):
                made.append(Outgoing(subscription, EMPTY_CHUNK, version, tuple(unknown)))
            broken += [Outgoing(subscription, EMPTY_CHUNK, version, part) for part in _slices(gone)]
            self._warm(difference.changed)
            subscription.settle(target)
        return made + broken[::-1]

    def _write(self, outgoing: Outgoing, nonce: str) -> bytes:
        removed = b"".join(wire.field(6, name) for name in outgoing.removed)
        return b"".join(
            (
                wire.field(1, outgoing.version),
                outgoing.chunk.delta_body,
                wire.field(4, outgoing.subscription.type_url),
                wire.field(5, nonce),
                removed,
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
