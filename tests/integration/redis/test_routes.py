"""Routes: keys to several clusters by their prefixes, and under other names there, as one server for the client."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import redis

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.conftest import start
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.raw import Raw
from tests.integration.redis.test_probes import PROBES

# What a listener refuses whose keys have other names at the back end, for it could count or flush what is another's; and what dice answer.
REFUSED = ("DBSIZE", "FLUSHALL", "FLUSHDB", "RANDOMKEY")


def listener(name: str, port: int, backend: str, routes: str) -> str:
    """A further Listener, with routes."""
    return f"""
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "127.0.0.1:{port}", protocol: redis, backend: {backend}}}
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {{name: {name}}}
spec:
  listeners: [{name}]
  routes:
{routes}"""


def cluster_of(name: str, address: str) -> str:
    return f"""
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: {name}}}
spec: {{nodes: ["{address}"], mode: single}}"""


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    """A server to compare with, and a second back end."""
    both = [start(lambda: RedisServer().start()) for _ in range(2)]
    yield both
    for server in both:
        server.kill()


@pytest.fixture(scope="module")
def scene(redis_cluster: RedisCluster, servers: list[RedisServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Ports of listeners: `plain`, `renamed` (all keys), `tenant` (all keys, no scripts) before the cluster; `split` over both back ends."""
    at = SimpleNamespace(plain=ports.free(), renamed=ports.free(), tenant=ports.free(), split=ports.free())
    more = cluster_of("other", f"127.0.0.1:{servers[1].port}")
    more += listener("renamed", at.renamed, "cache", '    - {prefix: "", backend: cache, rewrite: "tenant7:", scripts: true}')
    more += listener("tenant", at.tenant, "cache", '    - {prefix: "", backend: cache, rewrite: "tenant8:"}')
    more += listener("split", at.split, "cache", """\
    - {prefix: "b", backend: other}
    - {prefix: "user:", backend: other, rewrite: "t9:u:"}
    - {prefix: "user:vip:", backend: cache, rewrite: "vip:"}
    - {prefix: "own:", backend: cache, rewrite: ""}""")  # fmt: skip
    sidecar = Sidecar(objects(redis_cluster.addresses, at.plain, more=more), tmp_path_factory.mktemp("routes"))
    sidecar.start()
    yield at
    sidecar.kill()


@pytest.fixture
def mesh(scene: SimpleNamespace, servers: list[RedisServer]) -> Callable[..., redis.Redis]:
    """``mesh("split")`` is a client of that listener; both back ends are empty."""
    connect(scene.plain).flushall()
    connect(servers[1].port).flushall()
    return lambda name="split", **options: connect(getattr(scene, name), **options)


def answers(port: int, resp: int, probe: list[str]) -> list[tuple[str, object]]:
    with Raw(port, resp) as connection:
        found: list[tuple[str, object]] = []
        for line in probe:
            words = [word.encode().decode("unicode_escape").encode("latin-1") for word in line.removeprefix("~").split(" ")]
            if not line.startswith(REFUSED):
                connection.send(*words)
                found.append((line, sorted(connection.elements()) if line.startswith("~") else connection.read()))
        return found


@pytest.mark.parametrize("resp", [2, 3])
# Scripts answer KEYS as the back end calls them; patterns may name keys of other routes.
@pytest.mark.parametrize("probe", [name for name in PROBES if name not in ("scripts", "sort by patterns", "sort words")])
def test_renamed_keys_are_seen_nowhere(scene: SimpleNamespace, servers: list[RedisServer], probe: str, resp: int) -> None:
    """Every probe answers what one server answers, though all keys have other names behind."""
    connect(scene.plain).flushall()
    connect(servers[0].port).flushall()
    assert answers(scene.renamed, resp, PROBES[probe]) == answers(servers[0].port, resp, PROBES[probe])
    names = connect(scene.plain).keys()
    assert [name for name in names if not name.startswith("tenant7:")] == []


REPLIES_WITH_KEYS = """\
RPUSH list 1 2 3 4 list
BLPOP nosuch list 1
BRPOP list 1
LMPOP 2 nosuch list LEFT COUNT 2
BLMPOP 1 1 list LEFT
BLPOP list 0.01
ZADD z 1 a 2 b 3 c 4 d
BZPOPMIN z 1
BZPOPMAX nosuch z 1
ZMPOP 1 z MIN
BZMPOP 1 2 nosuch z MAX
XADD s 1-1 f v
XADD {s}t 1-2 f v
XREAD COUNT 5 STREAMS s {s}t 0 0
XREAD BLOCK 10 STREAMS s {s}t 0 1-1
XREAD BLOCK 10 STREAMS s $
XREADGROUP GROUP g c STREAMS s >
XGROUP CREATE s g 0
XGROUP CREATE nosuch g 0
XREADGROUP GROUP g c COUNT 1 STREAMS s >
XPENDING s nogroup
XCLAIM nosuch g c 0 1-1
XAUTOCLAIM s nogroup c 0 0
XINFO CONSUMERS s nogroup
XINFO GROUPS nosuch
XGROUP SETID s nogroup 0
XGROUP DESTROY s g
COMMAND GETKEYS MSET a 1 b 2
SET k v
~KEYS *
KEYS [k]
KEYS tenant*
SCAN 0 MATCH nosuch* COUNT 1000
EVAL return(redis.call('GET',KEYS[1])) 1 k
OBJECT ENCODING k
MEMORY USAGE nosuch
SORT list BY nosort GET #
GEOADD geo 1 1 p
GEORADIUS geo 1 1 10 m STORE stored
ZCARD stored
RENAME stored moved
COPY moved again
EXISTS stored moved again
LMOVE list other LEFT RIGHT
TYPE s
MULTI
GET {k}m
INCR {k}n
EXEC
WATCH k
MULTI
SET k 2
EXEC
GET k"""


@pytest.mark.parametrize("resp", [2, 3])
def test_replies_tell_the_names_that_the_client_gave(scene: SimpleNamespace, servers: list[RedisServer], resp: int) -> None:
    connect(scene.plain).flushall()
    connect(servers[0].port).flushall()
    lines = REPLIES_WITH_KEYS.split("\n")
    assert answers(scene.renamed, resp, lines) == answers(servers[0].port, resp, lines)


def test_tenants_see_their_own_keys_only(mesh: Callable[..., redis.Redis]) -> None:
    ours, theirs = mesh("renamed"), mesh("tenant")
    for number in range(500):
        ours.set(f"ours:{number}", number)
        theirs.set(f"theirs:{number}", number)
    assert sorted(ours.scan_iter(count=20)) == sorted(f"ours:{number}" for number in range(500))
    assert sorted(theirs.scan_iter(count=20, match="*:1*")) == sorted(f"theirs:{number}" for number in range(500) if str(number)[0] == "1")
    assert theirs.keys("ours*") == []
    assert theirs.randomkey().startswith("theirs:")
    assert theirs.mget("ours:1", "theirs:1") == [None, "1"]
    for refused in (theirs.flushall, theirs.dbsize, lambda: theirs.eval("return redis.call('GET', 'tenant7:ours:1')", 0)):
        with pytest.raises(redis.ResponseError, match=r"is not supported: .*keys"):
            refused()
    assert mesh("plain").get("tenant8:theirs:7") == "7"


def test_keys_go_to_the_cluster_of_their_longest_prefix(mesh: Callable[..., redis.Redis], servers: list[RedisServer]) -> None:
    client, cluster, other = mesh(), mesh("plain"), connect(servers[1].port)
    values = {"a": "1", "b1": "2", "user:1": "3", "user:vip:1": "4", "own:x": "5", "us": "6"}
    assert client.mset(values)
    assert client.mget(*values, "user:nosuch") == [*values.values(), None]
    assert {key: cluster.get(key) for key in cluster.scan_iter()} == {"a": "1", "vip:1": "4", "x": "5", "us": "6"}
    assert {key: other.get(key) for key in other.scan_iter()} == {"b1": "2", "t9:u:1": "3"}
    assert client.exists(*values, "b2", "user:1") == 7
    assert client.touch("a", "b1", "user:2") == 2
    # Names behind that lead elsewhere in front are not shown: x is not own:x's only name, b2 is there and not of that route.
    cluster.set("user:hidden", "?"), cluster.set("b2", "?"), other.set("a2", "?"), other.set("t9:u:vip:2", "?")
    assert sorted(client.scan_iter(count=1)) == sorted([*values, "own:us", "own:a", "own:vip:1", "own:user:hidden", "own:b2", "vip:1", "x"])
    assert sorted(client.keys("user:*")) == ["user:1", "user:vip:1"]
    assert sorted(client.keys("us*")) == ["us", "user:1", "user:vip:1"]
    assert sorted(client.scan_iter(match="*1")) == sorted(["b1", "user:1", "user:vip:1", "own:vip:1", "vip:1"])
    assert client.delete(*values) == 6
    assert client.unlink("b1", "x") == 0


def test_what_is_of_two_clusters_is_refused_with_their_names(mesh: Callable[..., redis.Redis]) -> None:
    client = mesh()
    for ask in (lambda: client.rename("a", "user:1"), lambda: client.sinter("a", "b1"), lambda: client.eval("return 1", 2, "a", "b")):
        with pytest.raises(redis.ResponseError, match=r".* on Listener/split: it cannot be split: .*RedisCluster/cache.*RedisCluster/other"):
            ask()
    with pytest.raises(redis.ResponseError, match="put `scripts: true` on the route"):
        client.eval("return 1", 1, "user:1")
    with pytest.raises(redis.ResponseError, match="patterns BY and GET"):
        client.sort("a", by="weight_*")
    with pytest.raises(redis.ResponseError, match="may have keys that none of them leads to"):
        client.flushall()
    for pattern in ("__keyspace@0__:*", "*"):
        with pytest.raises(redis.ResponseError, match="notifications of its own"):
            connection = client.connection_pool.get_connection()
            connection.send_command("PSUBSCRIBE", pattern)
            connection.read_response()
    with pytest.raises(redis.ResponseError, match="replicas of its own"):
        client.wait(0, 10)


def test_a_transaction_is_of_one_cluster(mesh: Callable[..., redis.Redis]) -> None:
    client = mesh()
    with client.pipeline() as pipe:
        assert pipe.set("user:1", 1).incr("user:1").get("b1").execute() == [True, 2, None]
    with client.pipeline() as pipe, pytest.raises(redis.ResponseError, match="a transaction and what it watches are of one back end"):
        pipe.set("user:1", 5).set("a", 1).execute()
    assert client.get("user:1") == "2"
    with client.pipeline() as pipe:
        pipe.watch("user:1")
        before = int(pipe.get("user:1")) + int(pipe.exists("a"))  # reads of others are free
        client.incr("user:1")
        pipe.multi()
        pipe.set("user:1", before)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    with client.pipeline() as pipe, pytest.raises(redis.ResponseError, match="a transaction and what it watches"):
        pipe.watch("user:1")
        pipe.multi()
        pipe.set("a", 1).execute()
    with client.pipeline() as pipe, pytest.raises(redis.ResponseError, match="its reply tells keys"):
        pipe.execute_command("LMPOP", 1, "user:1", "LEFT").execute()


def test_a_client_that_waits_is_woken_with_its_own_name(mesh: Callable[..., redis.Redis], servers: list[RedisServer]) -> None:
    other = connect(servers[1].port)
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(mesh().blpop(["user:queue", "b"], 30)))
    waiting.start()
    while not other.info("clients")["blocked_clients"]:
        pass
    other.rpush("t9:u:queue", "x")
    waiting.join()
    assert got == [("user:queue", "x")]


def test_scripts_are_loaded_everywhere(mesh: Callable[..., redis.Redis]) -> None:
    client = mesh()
    script = client.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
    assert client.script_load(script.script) == script.sha
    assert client.script_exists(script.sha) == [True]
    assert script(keys=["a"], args=[1]) == "OK"
    assert script(keys=["b1"], args=[2]) == "OK"
    assert client.mget("a", "b1") == ["1", "2"]


def test_a_pipeline_over_clusters_keeps_its_order(mesh: Callable[..., redis.Redis]) -> None:
    with mesh().pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"{('a', 'b', 'user:', 'user:vip:', 'own:')[number % 5]}{number}", number)
            pipe.get(f"{('a', 'b', 'user:', 'user:vip:', 'own:')[number % 5]}{number}")
        assert pipe.execute()[1::2] == [str(number) for number in range(2000)]


MOVES = """
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {name: moves}
spec: {listeners: [cache], routes: [{prefix: "m:", backend: other, rewrite: "moved:"}]}"""


class Mover:
    """A sidecar whose keys m: are sent to the other server, and back."""

    def __init__(self, cluster: RedisCluster, server: RedisServer, sidecar: Callable[..., Sidecar]) -> None:
        self.port, self.nodes = ports.free(), cluster.addresses
        self.own, self.aside = connect(self.port), connect(server.port)
        self.other = cluster_of("other", f"127.0.0.1:{server.port}")
        self.process = sidecar(objects(self.nodes, self.port))
        self.own.flushall()
        self.aside.flushall()

    def move(self, more: str, *, is_there: bool) -> None:
        """Returns when the new objects are in force."""
        self.process.reload(objects(self.nodes, self.port, more=more))
        while (self.own.set("m:probe", more) and self.aside.getdel("moved:probe") == more) != is_there:
            pass


@pytest.fixture
def mover(redis_cluster: RedisCluster, servers: list[RedisServer], sidecar: Callable[..., Sidecar]) -> Mover:
    return Mover(redis_cluster, servers[1], sidecar)


def test_routes_change_under_traffic(mover: Mover) -> None:
    """No command fails when keys are sent elsewhere, nor when their back end is no longer there; each is at one of the two."""
    stop = threading.Event()
    errors: list[str] = []
    written = [0, 0, 0, 0]

    def write(worker: int) -> None:
        client = connect(mover.port)
        while not stop.is_set():
            try:
                client.incr(f"m:{worker}")
                client.blpop([f"m:queue:{worker}"], 0.01)
                written[worker] += 1
            except redis.RedisError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    there, back = mover.other + MOVES, mover.other
    for more, is_there in ((there, True), (back, False), (there, True), (back, False), ("", False)):
        mover.move(more, is_there=is_there)
        goal = [number + 20 for number in written]
        while any(number < wanted for number, wanted in zip(written, goal, strict=True)):
            assert len(errors) < 100, errors[:3]
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [int(mover.own.get(f"m:{worker}")) + int(mover.aside.get(f"moved:{worker}")) for worker in range(4)] == written


def test_what_is_watched_or_queued_where_keys_went_does_not_run(mover: Mover) -> None:
    mover.move(mover.other + MOVES, is_there=True)
    with mover.own.pipeline() as watching, connect(mover.port) as queueing:
        watching.watch("m:a")
        watching.multi()
        watching.set("m:a", 1)
        connection = queueing.connection_pool.get_connection()
        for words in (("MULTI",), ("SET", "m:b", 1)):
            connection.send_command(*words)
            connection.read_response()
        mover.move(mover.other, is_there=False)
        with pytest.raises(redis.WatchError):
            watching.execute()
        connection.send_command("EXEC")
        with pytest.raises(redis.exceptions.ExecAbortError):
            connection.read_response()
    assert mover.own.mget("m:a", "m:b") == [None, None]
    assert mover.aside.mget("moved:a", "moved:b") == [None, None]
