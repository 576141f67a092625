"""S10 under random changes: at no moment does a client hold a listener whose cluster it lacks, or whose cluster has no endpoints yet.

The client is Envoy-like: clusters and listeners by the wildcard, the endpoints of each cluster by name as soon as it knows the cluster.
"""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, LISTENER, Delta, Sotw, resource

CLUSTERS = ("a", "b", "c")
# A world: its clusters and their versions; the first of them is what the listener refers to.
world = st.dictionaries(st.sampled_from(CLUSTERS), st.sampled_from("12"), min_size=1)
operation = st.one_of(st.tuples(st.just("offer"), world), st.tuples(st.just("read"), st.integers(1, 3)), st.tuples(st.just("ask"), st.none()))


def resources(clusters: dict[str, str]) -> list:
    listed = [resource(CLUSTER, name, f"{name} {content}", warms=((ENDPOINTS, name),)) for name, content in clusters.items()]
    listed += [resource(ENDPOINTS, name, f"{name} e") for name in clusters]
    return [*listed, resource(LISTENER, "l", f"l {next(iter(clusters))}")]


class Client:
    """What it holds, by type and name. Contents begin with the name, so that both variants can be read alike."""

    def __init__(self, peer, clusters: dict[str, str]):
        self.peer = peer(*resources(clusters))
        self.view: dict[str, dict[str, str]] = {CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}}
        self.asked: list[str] = []
        self.nonces: dict[str, str] = {}
        self.peer.subscribe(CLUSTER)
        self.settle()
        self.peer.subscribe(LISTENER)
        self.settle()

    def offer(self, clusters):
        self.peer.offer(*resources(clusters))

    def read(self, count):
        for _ in range(count):
            if (frame := self.peer.stream.poll()) is None:
                return
            self._take(self.peer._response.FromString(frame))

    def ask(self, _=None) -> bool:
        """For the endpoints of clusters it has learnt of, and no longer for those of clusters that went."""
        wanted = sorted(self.view[CLUSTER])
        new, old = [name for name in wanted if name not in self.asked], [name for name in self.asked if name not in wanted]
        if not new and not old:
            return False
        self.asked = wanted
        if isinstance(self.peer, Delta):
            self.peer.send(ENDPOINTS, resource_names_subscribe=new, resource_names_unsubscribe=old)
        else:
            self.peer.subscribe(ENDPOINTS, *wanted, response_nonce=self.nonces.get(ENDPOINTS, ""))
        for name in old:
            self.view[ENDPOINTS].pop(name, None)
        return True

    def settle(self):
        asking = True
        while asking:
            while (frame := self.peer.stream.poll()) is not None:
                self._take(self.peer._response.FromString(frame))
            asking = self.ask()

    def _take(self, response):
        view = self.view[response.type_url]
        self.nonces[response.type_url] = response.nonce
        contents = dict(getattr(item, "resource", item).value.decode().split(" ") for item in response.resources)
        if isinstance(self.peer, Sotw) and response.type_url != ENDPOINTS:
            view.clear()
        view.update(contents)
        for name in getattr(response, "removed_resources", ()):
            view.pop(name, None)
        for cluster in self.view[LISTENER].values():
            assert cluster in self.view[CLUSTER], "the listener refers to a cluster that is not there"
            assert cluster in self.view[ENDPOINTS], "the listener refers to a cluster without endpoints"


def _check(peer, start, operations):
    client = Client(peer, start)
    clusters = start
    for verb, argument in operations:
        getattr(client, verb)(argument)
        clusters = argument if verb == "offer" else clusters
    client.settle()
    assert client.view[CLUSTER] == clusters
    assert client.view[LISTENER] == {"l": next(iter(clusters))}
    assert client.view[ENDPOINTS].keys() == clusters.keys()


@given(world, st.lists(operation, max_size=30))
def test_s10_delta_never_breaks_before_it_makes(start, operations):
    _check(Delta, start, operations)


@given(world, st.lists(operation, max_size=30))
def test_s10_sotw_never_breaks_before_it_makes(start, operations):
    _check(Sotw, start, operations)
