"""redis-py sees one server: every answer is compared with that of a single server of the same kind."""

import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from mesh_core.lab import RedisCluster, RedisServer
from tests.integration.redis.conftest import Client

Pair = list[redis.Redis]


@pytest.fixture(params=[2, 3])
def pair(request: pytest.FixtureRequest, mesh: Client, single: RedisServer) -> Pair:
    """A client of one server and one of the mesh, both empty."""
    direct = redis.Redis(port=single.port, decode_responses=True, protocol=request.param)
    direct.flushall()
    return [direct, mesh(protocol=request.param)]


def outcome(ask: Callable[[redis.Redis], object], client: redis.Redis) -> object:
    """What a call gives: a value, or the server's error."""
    try:
        return ask(client)
    except redis.RedisError as error:
        return type(error), str(error)


def same(pair: Pair, ask: Callable[[redis.Redis], object]) -> object:
    direct, through = (outcome(ask, client) for client in pair)
    assert through == direct
    return direct


COMMANDS = [
    "SET a 1 EX 100", "GET a", "GET nosuch", "INCR a", "INCRBYFLOAT a 0.5", "APPEND a x", "INCR a", "STRLEN a", "GETRANGE a 0 1",
    "SETNX a 2", "GETSET a 3", "MSET b 1 c 2 d 3 e 4", "MGET a b c nosuch e", "EXISTS a b b nosuch", "TOUCH a b c", "UNLINK b c nosuch",
    "DEL d e", "LPUSH list 1 2 3", "LRANGE list 0 -1", "LPOP list 2", "GET list", "MGET list a", "LLEN list", "LSET list 9 x",
    "HSET hash f v g w", "HGETALL hash", "HMGET hash f nosuch", "HINCRBY hash n 2", "HDEL hash f", "HRANDFIELD nosuch", "SADD set a",
    "SISMEMBER set a", "SMEMBERS set", "ZADD z 1 a 2.5 b", "ZRANGE z 0 -1 WITHSCORES", "ZSCORE z b", "ZADD z NX GT 1 a", "ZRANK z nosuch",
    "XADD s 1-1 f v", "XRANGE s - +", "XREAD COUNT 1 STREAMS s 0", "XLEN s", "XGROUP CREATE s g 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS s >", "XACK s g 1-1", "SETBIT bits 7 1", "BITCOUNT bits", "PFADD hll a b", "PFCOUNT hll",
    "GEOADD geo 13.361389 38.115556 p", "GEOPOS geo p", "SORT list", "EVAL return{KEYS[1],ARGV[1],1,false} 1 a b", "EVAL return 0",
    "EVAL x", "TYPE z", "OBJECT ENCODING a", "EXPIRE a 100", "TTL nosuch", "RENAME a a", "DBSIZE", "GET", "GET a b", "NOSUCH x y",
    "CONFIG NOSUCH", "SET a", "SET a 1 BOGUS", "MSET a", "SELECT 0", "SELECT x", "ECHO hi", "PING", "PING hi", "EXEC", "DISCARD",
    "AUTH nobody x", "HELLO 4", "CLUSTER INFO", "COMMAND GETKEYS MSET a 1 b 2", "COMMAND GETKEYS PING",
]  # fmt: skip


def test_commands_answer_as_one_server(pair: Pair) -> None:
    """One connection each, so that what a command leaves behind is seen by the next."""
    connections = [client.connection_pool.get_connection() for client in pair]
    different = []
    for line in COMMANDS:
        answers = []
        for connection in connections:
            connection.send_command(*line.split(" "))
            try:
                answers.append(connection.read_response())
            except redis.RedisError as error:
                answers.append(repr(error))
        if answers[1] != answers[0]:
            different.append((line, answers))
    for connection in connections:
        connection.disconnect()
    assert not different


def test_a_long_pipeline_is_answered_in_order(pair: Pair) -> None:
    def ask(client: redis.Redis) -> object:
        with client.pipeline(transaction=False) as pipe:
            for number in range(5000):
                pipe.set(f"key:{number}", number)
                pipe.get(f"key:{number}")
            return pipe.execute()

    assert same(pair, ask)[1::2] == [str(number) for number in range(5000)]  # type: ignore[index]


def test_many_keys_in_one_command(pair: Pair) -> None:
    keys = [f"key:{number}" for number in range(2000)]
    same(pair, lambda client: client.mset({key: key for key in keys}))
    same(pair, lambda client: client.mget([*keys, "nosuch"]))
    assert same(pair, lambda client: client.exists(*keys, "nosuch")) == 2000
    assert same(pair, lambda client: sorted(client.scan_iter(count=50))) == sorted(keys)
    assert same(pair, lambda client: sorted(client.keys("key:1*"))) is not None
    assert same(pair, lambda client: client.delete(*keys)) == 2000


def test_large_values_pass(pair: Pair) -> None:
    value = "x" * 20_000_000
    same(pair, lambda client: client.set("large", value))
    assert same(pair, lambda client: client.get("large")) == value


def test_a_transaction_sees_and_aborts(pair: Pair) -> None:
    def commits(client: redis.Redis) -> object:
        with client.pipeline() as pipe:
            pipe.watch("{t}a")
            before = pipe.get("{t}a")
            pipe.multi()
            pipe.set("{t}a", 1).incr("{t}a").lpush("{t}list", "x").incr("{t}list")
            return before, [repr(result) for result in pipe.execute(raise_on_error=False)]

    def aborts(client: redis.Redis) -> object:
        with client.pipeline() as pipe:
            pipe.watch("{t}a")
            client.set("{t}a", "foreign")
            pipe.multi()
            pipe.set("{t}a", "mine")
            with pytest.raises(redis.WatchError):
                pipe.execute()
            return client.get("{t}a")

    same(pair, commits)
    assert same(pair, aborts) == "foreign"


def test_no_update_is_lost(mesh: Client) -> None:
    """Eight clients add one, a hundred times each, by WATCH alone."""

    def read_then_write() -> None:
        client = mesh()
        for _ in range(100):

            def step(pipe: redis.client.Pipeline) -> None:
                value = int(pipe.get("counter") or 0)  # type: ignore[arg-type]
                pipe.multi()
                pipe.set("counter", value + 1)

            client.transaction(step, "counter")

    threads = [threading.Thread(target=read_then_write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mesh().get("counter") == "800"


def test_a_blocking_command_holds_up_nobody(pair: Pair) -> None:
    def ask(client: redis.Redis) -> object:
        answers: list[object] = []
        waiting = threading.Thread(target=lambda: answers.append(list(client.blpop("queue", 30))))
        waiting.start()
        others = [client.ping() for _ in range(100)]
        client.rpush("queue", "x")
        waiting.join()
        return answers, others, client.blpop("queue", 0.01)

    same(pair, ask)


def test_subscriptions(pair: Pair) -> None:
    def ask(client: redis.Redis) -> object:
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        subscriber.psubscribe("n*")
        seen = [subscriber.get_message(timeout=10) for _ in range(2)]
        seen.append(client.publish("news", "hello"))  # how many receivers: the channel's and the pattern's
        seen += [subscriber.get_message(timeout=10) for _ in range(2)]
        subscriber.unsubscribe()
        subscriber.punsubscribe()
        seen += [subscriber.get_message(timeout=10) for _ in range(2)]
        return seen

    same(pair, ask)


def test_what_one_server_is(pair: Pair) -> None:
    same(pair, lambda client: client.info("cluster")["cluster_enabled"])
    same(pair, lambda client: client.role()[0])
    same(pair, lambda client: client.client_setname("me") and client.client_getname())
    assert pair[1].info("server")["redis_mode"] == "standalone"
    assert pair[1].client_id() > 0
    assert pair[1].command_count() > 200


def test_info_has_the_fields_of_one_server(pair: Pair) -> None:
    """All that clients look for: none is missing, none shows the cluster."""
    # What depends on what was run, and the first replica that a server ever had.
    passing = ("cmdstat_", "errorstat_", "latency_percentiles_", "db", "master_sync", "repl_backlog")
    direct, through = ({field for field in client.info("everything") if not field.startswith(passing)} for client in pair)
    assert direct - through == set()
    assert {field for field in through if field.startswith(("cluster_", "slave"))} <= {"cluster_enabled", "cluster_connections", *direct}
    for field in ("redis_version", "arch_bits", "cluster_enabled", "role", "connected_slaves", "loading", "maxmemory_policy"):
        same(pair, lambda client, field=field: client.info()[field])
    assert pair[1].info("server")["redis_mode"] == "standalone"


def test_info_adds_up_what_the_masters_have(pair: Pair) -> None:
    for client in pair:
        client.config_resetstat()
        for number in range(20):
            client.set(f"key{number}", number)
        client.expire("key0", 100)
    same(pair, lambda client: {name: client.info("keyspace")["db0"][name] for name in ("keys", "expires")})
    same(pair, lambda client: client.info("commandstats")["cmdstat_set"]["calls"])
    same(pair, lambda client: client.info("nosuch"))


def test_a_client_is_closed_by_another(mesh: Client) -> None:
    killer, victim = mesh(), mesh(client_name="victim")
    number = victim.client_id()
    assert [one["name"] for one in killer.client_list(client_id=[number])] == ["victim"]
    assert killer.client_kill_filter(_id=number) == 1
    assert killer.client_list(client_id=[number]) == []


def test_what_any_node_knows_is_asked_there(pair: Pair) -> None:
    for command in ("ACL CAT", "COMMAND GETKEYSANDFLAGS,SET,a,1", "SLOWLOG RESET", "SLOWLOG LEN", "MODULE LIST", "CLIENT TRACKINGINFO",
                    "CLIENT UNPAUSE", "CLIENT HELP"):  # fmt: skip
        same(pair, lambda client, command=command: client.execute_command(*command.split(",")))
    # Servers name these in the order of their hash tables.
    for command in ("ACL CAT,read", "COMMAND LIST,FILTERBY,PATTERN,ge*"):
        same(pair, lambda client, command=command: sorted(client.execute_command(*command.split(","))))


@pytest.fixture
def key_space_events(redis_cluster: RedisCluster, single: RedisServer) -> Iterator[None]:
    nodes = [redis.Redis(port=int(address.rpartition(":")[2])) for address in [*redis_cluster.addresses, single.address]]
    for node in nodes:
        node.config_set("notify-keyspace-events", "KEA")
    yield
    for node in nodes:
        node.config_set("notify-keyspace-events", "")


def test_key_space_events_come_from_all_masters_once(pair: Pair, key_space_events: None) -> None:
    def ask(client: redis.Redis) -> object:
        subscriber = client.pubsub()
        patterns = ["__keyevent@0__:*", "__keyspace@0__:*", "*"]
        subscriber.psubscribe(*patterns)
        assert [subscriber.get_message(timeout=10)["pattern"] for _ in patterns] == [None] * 3
        for number in range(12):
            client.set(f"key:{number}", number)
        client.publish("done", "done")
        # An event of the key and one of the command, each for its own pattern and for the last.
        messages = [subscriber.get_message(timeout=10) for _ in range(12 * 4 + 1)]
        assert subscriber.get_message(timeout=0.1) is None
        seen = [(message["pattern"], message["channel"], message["data"]) for message in messages]
        return sorted(seen)

    assert len(same(pair, ask)) == 12 * 4 + 1  # type: ignore[arg-type]


def test_shard_channels_of_one_connection_are_on_several_nodes(pair: Pair) -> None:
    def ask(client: redis.Redis) -> object:
        subscriber = client.pubsub()
        subscriber.ssubscribe("foo", "bar", "hello")
        seen = [subscriber.get_message(timeout=10) for _ in range(3)]
        counts = [client.execute_command("SPUBLISH", channel, "hi") for channel in ("foo", "bar", "hello")]
        messages = [subscriber.get_message(timeout=10) for _ in range(3)]
        subscriber.sunsubscribe()
        seen += sorted((subscriber.get_message(timeout=10) for _ in range(3)), key=lambda message: str(message["channel"]))
        for message in seen[3:]:
            message["data"] = "any order"
        return seen, counts, sorted(str(message) for message in messages)

    same(pair, ask)


def test_counts_of_receivers_and_subscriptions(pair: Pair) -> None:
    def ask(client: redis.Redis) -> object:
        subscribers = [client.pubsub() for _ in range(3)]
        for subscriber in subscribers:
            subscriber.subscribe("news", "other")
            subscriber.psubscribe("n*", "*")
            for _ in range(4):
                subscriber.get_message(timeout=10)
        subscribers[0].unsubscribe("news")
        subscribers[0].get_message(timeout=10)
        return client.publish("news", "hi"), client.pubsub_numsub("news", "other", "nosuch"), client.pubsub_numpat(), sorted(client.pubsub_channels())

    same(pair, ask)
