"""Both server machines against a client that keeps its own books, under random sequences of operations.

After everything due was delivered, the client's view must be what its subscription selects of the newest snapshot; no response may name a resource
twice (S7), and a second look must bring nothing (S5).
"""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xds.peer import CLUSTER, RULE, Delta, Sotw, resource

GLOB = "xdstp://mesh/rules/shop/*"
NAMES = ("a", "b", "xdstp://mesh/rules/shop/c", "xdstp://mesh/rules/shop/d")
ASKED = (*NAMES, GLOB)
some_names = st.lists(st.sampled_from(ASKED), unique=True)
a_snapshot = st.dictionaries(st.sampled_from(NAMES), st.sampled_from("123"))

delta_operation = st.one_of(
    st.tuples(st.just("subscribe"), st.lists(st.sampled_from((*ASKED, "*")), unique=True, min_size=1)),
    st.tuples(st.just("unsubscribe"), st.lists(st.sampled_from((*ASKED, "*")), unique=True, min_size=1)),
    st.tuples(st.just("reconnect"), st.just(None)),
    st.tuples(st.just("offer"), a_snapshot),
    st.tuples(st.just("deliver"), st.just(None)),
)
sotw_operation = st.one_of(
    st.tuples(st.just("subscribe"), st.lists(st.sampled_from((*ASKED, "*")), unique=True, min_size=1)),
    st.tuples(st.just("offer"), a_snapshot),
)


def selects(asked: set[str], name: str) -> bool:
    """What a subscription means, in one line."""
    return "*" in asked or name in asked or (GLOB in asked and name.startswith(GLOB[:-1]))


class DeltaBooks:
    """A delta client of one type: what it asked for, and what it believes to exist."""

    def __init__(self, start: dict[str, str], first: list[str]):
        self.snapshot = start
        self.peer = Delta(*(resource(RULE, *item) for item in start.items()))
        self.asked, self.view, self.versions = set(first) or {"*"}, {}, {}
        self.peer.subscribe(RULE, *first)

    def subscribe(self, names):
        self.asked |= set(names)
        self.peer.subscribe(RULE, *names)

    def unsubscribe(self, names):
        self.asked -= set(names)
        self.peer.unsubscribe(RULE, *names)
        self._keep_what_is_asked_for()

    def reconnect(self, _):
        """Onto a new stream, with what is held; nothing that was in flight on the old one is."""
        self.peer = Delta(*(resource(RULE, *item) for item in self.snapshot.items()))
        asked = self.asked or {"nothing that exists"}
        self.peer.subscribe(RULE, *sorted(asked), initial_resource_versions={name: self.versions[name] for name in self.view})

    def _keep_what_is_asked_for(self):
        self.view = {name: value for name, value in self.view.items() if selects(self.asked, name)}

    def offer(self, contents):
        self.snapshot = contents
        self.peer.offer(*(resource(RULE, *item) for item in contents.items()))

    def deliver(self, _=None):
        for response in self.peer.hear():
            named = [item.name for item in response.resources] + list(response.removed_resources)
            assert len(named) == len(set(named))
            for item in response.resources:
                self.versions[item.name] = item.version
                if selects(self.asked, item.name):
                    self.view[item.name] = item.resource.value.decode()
            for name in response.removed_resources:
                self.view.pop(name, None)
            self.peer.ack(response)

    def expected(self):
        return {name: value for name, value in self.snapshot.items() if selects(self.asked, name)}


@given(a_snapshot, some_names, st.lists(delta_operation, max_size=30))
def test_s7_delta_agrees_with_the_books(start, first, operations):
    books = DeltaBooks(start, first)
    for name, argument in operations:
        getattr(books, name)(argument)
    books.deliver()
    assert books.view == books.expected()
    assert books.peer.hear() == []


class SotwBooks:
    """A state-of-the-world client of a complete type: a response is everything."""

    def __init__(self, start: dict[str, str], first: list[str]):
        self.snapshot, self.wants = start, set(first) or {"*"}
        self.peer = Sotw(*(resource(CLUSTER, *item) for item in start.items()))
        self.peer.subscribe(CLUSTER, *first)
        self.view, self.last = {}, None
        self.deliver()

    def deliver(self):
        for response in self.peer.hear():
            contents = [item.value.decode() for item in response.resources]
            assert len(contents) == len(set(contents))
            self.view, self.last = set(contents), response

    def subscribe(self, names):
        self.wants = set(names)
        self.peer.subscribe(CLUSTER, *names, response_nonce=self.last.nonce if self.last else "")
        self.deliver()

    def offer(self, contents):
        self.snapshot = contents
        self.peer.offer(*(resource(CLUSTER, *item) for item in contents.items()))
        self.deliver()

    def expected(self):
        return {value for name, value in self.snapshot.items() if selects(self.wants, name)}


def _own(contents: dict[str, str]) -> dict[str, str]:
    """Contents that tell their names, since a DiscoveryResponse does not."""
    return {name: f"{name}{value}" for name, value in contents.items()}


@given(a_snapshot, some_names, st.lists(sotw_operation, max_size=30))
def test_s7_sotw_agrees_with_the_books(start, first, operations):
    books = SotwBooks(_own(start), first)
    for name, argument in operations:
        getattr(books, name)(_own(argument) if name == "offer" else argument)
    # A client that dropped a name itself keeps no copy of it; what it still wants must be right.
    assert books.view & books.expected() == books.expected()
    assert books.peer.hear() == []
