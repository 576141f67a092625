"""Our client on a stream of our server, in both variants, under random changes, refusals and lost connections: in the end it holds the snapshot.

What it refuses it holds as it was before, or not at all. Endpoints are asked for by the names of their clusters (C8).
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.xds.peer import RULE, snapshot
from xds.messages import message, serialise
from xds.protocol.client import DeltaClient
from xds.protocol.delta import DeltaStream
from xds.protocol.report import Refused
from xds.protocol.resource import Resource
from xds.protocol.sotw import SotwStream
from xds.protocol.sotw_client import SotwClient
from xds.protocol.stream import LAST_TYPE_FEATURE
from xds.protocol.types import CLUSTER, ENDPOINTS, LISTENER

NODE = message("envoy.config.core.v3.Node")(id="shop-1")
EVERYTHING = (CLUSTER, ENDPOINTS, RULE, LISTENER)
ALL_AT_ONCE = message("envoy.config.core.v3.Node")(id="shop-1", client_features=[LAST_TYPE_FEATURE + LISTENER])
NAMES = ("a", "b", "c")
REFUSED = "bad"
contents = st.sampled_from(("1", "2", REFUSED))
world = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), contents), st.dictionaries(st.sampled_from(NAMES), contents), st.sets(st.sampled_from(NAMES))
)
operation = st.one_of(st.tuples(st.just("publish"), world), st.tuples(st.just("speak"), st.integers(1, 3)), st.tuples(st.just("lose"), st.none()))


def cluster(name, content):
    value = serialise(message("envoy.config.cluster.v3.Cluster")(name=name, alt_stat_name=content))
    return Resource(CLUSTER, name, value, warms=((ENDPOINTS, name),))


def listener(name, content):
    return Resource(LISTENER, name, serialise(message("envoy.config.listener.v3.Listener")(name=name, stat_prefix=content)))


def endpoints(name):
    return Resource(ENDPOINTS, name, serialise(message("envoy.config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name)))


class Pair:
    """Messages travel as bytes, in order; `speak` moves some, `settle` all."""

    def __init__(self, client, stream, world):
        self.make = stream
        self.client = client()
        prefix = "envoy.service.discovery.v3." + ("Delta" if stream is DeltaStream else "")
        self.response = message(prefix + "DiscoveryResponse")
        self.snapshot = snapshot(*self.resources(world))
        self.lose()

    def resources(self, world):
        self.world = world
        clusters, listeners, known = world
        return [
            *(cluster(name, content) for name, content in clusters.items()),
            *(listener(name, content) for name, content in listeners.items()),
            *(endpoints(name) for name in known),
        ]

    def publish(self, world):
        self.snapshot = snapshot(*self.resources(world), after=self.snapshot)
        self.stream.offer(self.snapshot)

    def lose(self, _=None):
        self.client.disconnected()
        self.stream = self.make(self.snapshot)
        self.send(self.client.connected())

    def speak(self, count):
        for _ in range(count):
            if (frame := self.stream.poll()) is None:
                return
            self.send(self.client.receive(self.response.FromString(frame)))

    def apply(self):
        update = self.client.take(force=True)
        if update is None:
            return False
        refusals = [Refused(*key, held.version, "", "no") for key, held in update.changed.items() if REFUSED.encode() in held.value]
        self.send(self.client.applied(update, refusals))
        return True

    def send(self, requests):
        for request in requests:
            self.stream.receive(type(request).FromString(request.SerializeToString()))

    def settle(self):
        busy = True
        while busy:
            busy = False
            while (frame := self.stream.poll()) is not None:
                self.send(self.client.receive(self.response.FromString(frame)))
                busy = True
            if self.stream.waiting:
                self.stream.stop_waiting()
                busy = True
            if not busy and self.client.alarm is not None:
                self.send(self.client.tick(self.client.alarm))  # nobody will answer: its time is over
                busy = True
            busy = self.apply() or busy


def by_name(variant):
    """A client that asks for the endpoints that its clusters name."""
    return lambda: variant(
        NODE, (CLUSTER, LISTENER), named=[ENDPOINTS], references=lambda held: [(ENDPOINTS, held.name)] * (held.type_url == CLUSTER)
    )


def sidecar():
    """A client that wants everything, and is told nothing of types that are empty."""
    return DeltaClient(ALL_AT_ONCE, EVERYTHING)


def _check(client, stream, start, operations):
    pair = Pair(client, stream, start)
    for verb, argument in operations:
        getattr(pair, verb)(argument)
        if verb == "speak":
            pair.apply()
    pair.settle()
    clusters, listeners, known = pair.world
    held = pair.client.held
    good = {(CLUSTER, name) for name, content in clusters.items() if content != REFUSED}
    good |= {(LISTENER, name) for name, content in listeners.items() if content != REFUSED}
    assert good <= held.keys()
    refused = {(CLUSTER, name) for name in clusters} | {(LISTENER, name) for name in listeners}
    assert {key for key in held if key[0] != ENDPOINTS} - good <= refused
    for key in good:
        assert held[key].value == pair.snapshot.types[key[0]].resources[key[1]].value
    found = {name for url, name in held if url == ENDPOINTS}
    assert clusters.keys() & known <= found <= clusters.keys()
    assert stream is SotwStream or found <= known  # in the state of the world absence says nothing of endpoints (W1)


@settings(max_examples=40, deadline=None)
@given(world, st.lists(operation, max_size=12))
def test_delta_converges(start, operations):
    _check(by_name(DeltaClient), DeltaStream, start, operations)


@settings(max_examples=40, deadline=None)
@given(world, st.lists(operation, max_size=12))
def test_sotw_converges(start, operations):
    _check(by_name(SotwClient), SotwStream, start, operations)


@settings(max_examples=40, deadline=None)
@given(world, st.lists(operation, max_size=12))
def test_a_sidecar_has_exactly_what_there_is_once_the_version_says_so(start, operations):
    pair = Pair(sidecar, DeltaStream, start)
    for verb, argument in operations:
        getattr(pair, verb)(argument)
        if verb == "speak" and (update := pair.client.take()) is not None:
            pair.send(pair.client.applied(update, ()))
    while (frame := pair.stream.poll()) is not None:
        pair.send(pair.client.receive(pair.response.FromString(frame)))
    update = pair.client.take()  # without force, and though no rules were spoken of
    if update is not None:
        pair.send(pair.client.applied(update, ()))
    held = {key: found.version for key, found in pair.client.held.items()}
    assert held == {(url, name): found.version for url, kind in pair.snapshot.types.items() for name, found in kind.resources.items()}


def test_empty_types_cost_a_sidecar_no_answer():
    pair = Pair(sidecar, DeltaStream, ({"a": "1"}, {}, set()))
    answered = []
    while (frame := pair.stream.poll()) is not None:
        answered.append(pair.response.FromString(frame).type_url)
    assert answered == [CLUSTER, LISTENER]  # the last one always, so that there is an answer at all


def test_nothing_is_said_before_the_last_type_was_asked_for():
    stream = DeltaStream(snapshot(cluster("a", "1")))
    first, *_, last = sidecar().connected()
    stream.receive(first)
    assert stream.poll() is None and stream.waiting
    stream.receive(last)
    assert stream.poll() is not None and not stream.waiting


def test_all_is_answered_where_the_version_would_tell_a_sidecar_nothing():
    more = Resource("type.googleapis.com/of.a.newer.Server", "a", b"1")
    stream = DeltaStream(snapshot(cluster("a", "1"), more))
    for request in sidecar().connected():
        stream.receive(request)
    answered = []
    while (frame := stream.poll()) is not None:
        answered.append(message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(frame).type_url)
    assert sorted(answered) == sorted(EVERYTHING)
