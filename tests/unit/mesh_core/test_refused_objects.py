"""Objects that are refused beside the example's, each with its line and what is said of it."""

import pytest

from tests.unit.mesh_core.shop import SHOP, complaints

FIRST_LINE = SHOP.count("\n") + 2  # of an object behind the example's


def of(kind: str, spec: str, name: str = "more") -> str:
    """On four lines: apiVersion, kind, metadata, spec."""
    return f"apiVersion: midstream/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


SHARD = 'shards: [{name: s0, primary: "127.0.0.1:5440/more"}]'
DATABASE = "engine: postgres, credentials: {user: app}"
LISTENER = 'address: "127.0.0.1:7000", protocol: redis, backend: cache'
NODES = 'nodes: ["127.0.0.1:7001"]'
TENANT = "KafkaVirtualCluster"
FEDERATION = "KafkaFederation"
CERTIFICATE = "certFrom: {file: /c}, keyFrom: {file: /k}"

# What it is about, the object, the path that is named, and what is said.
ROWS = [
    # not objects at all
    ("no object", "- 1\n- 2\n", "", "must be a mapping of fields"),
    ("no kind", "apiVersion: midstream/v1\nmetadata: {name: x}\nspec: {}\n", "kind", "is missing"),
    ("no name", "apiVersion: midstream/v1\nkind: Listener\nspec: {}\n", "metadata", "is missing"),
    ("no spec", "apiVersion: midstream/v1\nkind: Listener\nmetadata: {name: x}\n", "spec", "is missing"),
    ("a key twice", "apiVersion: midstream/v1\napiVersion: midstream/v1\nkind: Listener\n", "", "twice"),
    (
        "a label that is no text",
        "apiVersion: midstream/v1\nkind: TcpService\nmetadata: {name: x, labels: {a: [1]}}\nspec: {}\n",
        "metadata.labels",
        "string",
    ),
    # Databases
    ("another engine", of("Database", f"engine: oracle, {SHARD}"), "spec.engine", "'postgres'"),
    ("a primary without a port", of("Database", f'{DATABASE}, shards: [{{name: s0, primary: "h:0/more"}}]'), "spec.shards[0].primary", "port 0"),
    (
        "a replica of another database",
        of("Database", f'{DATABASE}, shards: [{{name: s0, primary: "h:1/a", replicas: ["h:2/b"]}}]'),
        "spec.shards[0].replicas[0]",
        "names another database than its primary",
    ),
    (
        "a bare address",
        of("Database", f'{DATABASE}, shards: [{{name: s0, primary: "::1:5432/a"}}]'),
        "spec.shards[0].primary",
        "write an IPv6 address in brackets",
    ),
    ("a pool mode", of("Database", f"{DATABASE}, {SHARD}, pool: {{mode: statement}}"), "spec.pool.mode", "'transaction'"),
    (
        "a minimum over the size",
        of("Database", f"{DATABASE}, {SHARD}, pool: {{size: 2, minimum: 3}}"),
        "spec.pool.minimum",
        "is more than the pool's size of 2",
    ),
    (
        "a size over the servers",
        of("Database", f"{DATABASE}, {SHARD}, pool: {{size: 9, maxServers: 3}}"),
        "spec.pool.size",
        "is more than pool.maxServers, 3",
    ),
    ("a user twice", of("Database", f"{DATABASE}, {SHARD}, users: [{{name: a}}, {{name: a}}]"), "spec.users[1].name", "two users are named a"),
    (
        "replicas of none",
        of("Database", f"{DATABASE}, {SHARD}, reads: {{from: replicas}}"),
        "spec.reads.from",
        "asks for replicas, and no shard has one",
    ),
    ("a long duration", of("Database", f"{DATABASE}, {SHARD}, pool: {{waitTimeout: 9000h}}"), "spec.pool.waitTimeout", "is longer than 49 days"),
    (
        "a server nobody verifies",
        of("Database", f"{DATABASE}, {SHARD}, tls: {{mode: disable, caFrom: {{file: /c}}}}"),
        "spec.tls",
        "mode disable verifies nobody",
    ),
    # Shardings
    (
        "a second Sharding",
        of("Sharding", "database: shop, home: s0, tables: [{name: t, reference: true}]"),
        "spec.database",
        "put the tables into one Sharding",
    ),
    (
        "a table twice",
        of("Sharding", "database: none, tables: [{name: t, reference: true}, {name: t, reference: true}]"),
        "spec.database",
        "there is no Database none",
    ),
    (
        "a key of a reference table",
        of("Sharding", "database: shop, tables: [{name: t, reference: true, key: a}]"),
        "spec.tables[0]",
        "a reference table has no key",
    ),
    (
        "ranges of a hash",
        of("Sharding", "database: shop, tables: [{name: t, key: a, method: hash, ranges: []}]"),
        "spec.tables[0]",
        "ranges belongs to method range",
    ),
    ("no lists", of("Sharding", "database: shop, tables: [{name: t, key: a, method: list}]"), "spec.tables[0]", "method list needs lists"),
    # Redis
    ("no nodes", of("RedisCluster", "crossSlot: split"), "spec.nodes", "are missing"),
    (
        "nodes and sentinels",
        of("RedisCluster", f'{NODES}, sentinels: ["127.0.0.1:26379"], master: m'),
        "spec.nodes",
        "are given together with sentinels",
    ),
    ("sentinels of nobody", of("RedisCluster", 'sentinels: ["127.0.0.1:26379"]'), "spec.master", "say under which name"),
    ("a master of no sentinel", of("RedisCluster", f"{NODES}, master: m"), "spec.master", "is only known to sentinels"),
    ("a node that is a number", of("RedisCluster", "nodes: [7001]"), "spec.nodes[0]", 'write "HOST:PORT"'),
    (
        "a prefix within another",
        of("RedisCluster", f"{NODES}, nearCache: {{prefixes: ['a', 'ab']}}"),
        "spec.nearCache",
        "another one begins with 'a'",
    ),
    ("a way of tracking", of("RedisCluster", f"{NODES}, nearCache: {{tracking: all}}"), "spec.nearCache.tracking", "'broadcast'"),
    ("a small cache", of("RedisCluster", f"{NODES}, nearCache: {{maxBytes: 10}}"), "spec.nearCache.maxBytes", "65536"),
    ("where reads go", of("RedisCluster", f"{NODES}, reads: {{from: anywhere}}"), "spec.reads.from", "'primary'"),
    ("a way over slots", of("RedisCluster", f"{NODES}, crossSlot: maybe"), "spec.crossSlot", "'split'"),
    (
        "a route's back end",
        of("RedisRoutes", "listeners: [cache], routes: [{prefix: 'a:', backend: none}]"),
        "spec.routes[0].backend",
        "there is no RedisCluster none",
    ),
    (
        "a route of no redis",
        of("RedisRoutes", "listeners: [shop], routes: [{prefix: 'a:', backend: cache}]"),
        "spec.listeners[0]",
        "Listener shop speaks postgres",
    ),
    (
        "a prefix twice",
        of("RedisRoutes", "listeners: [cache], routes: [{prefix: 'a:', backend: cache}, {prefix: 'a:', backend: cache}]"),
        "spec.routes[1].prefix",
        "one prefix has one route",
    ),
    # Kafka
    ("no bootstrap", of("KafkaCluster", "bootstrap: []"), "spec.bootstrap", "at least 1 item"),
    (
        "ports that are no range",
        of("Listener", 'address: "127.0.0.1:7000", protocol: kafka, backend: events, brokerPorts: "7"'),
        "spec.brokerPorts",
        "FIRST-LAST",
    ),
    (
        "a path for Kafka",
        of("Listener", 'address: "unix:/run/k", protocol: kafka, backend: events, brokerPorts: "7-9"'),
        "spec.address",
        "is a path, and Kafka's clients are told",
    ),
    ("a tenant of no cluster", of(TENANT, 'cluster: event, prefix: "a."'), "spec.cluster", "there is no KafkaCluster event; did you mean events?"),
    ("a tenant of all names", of(TENANT, 'cluster: events, prefix: ""'), "spec.prefix", "should match pattern"),
    ("a prefix of no topic", of(TENANT, 'cluster: events, prefix: "a b"'), "spec.prefix", "should match pattern"),
    (
        "a federation of no cluster",
        of(FEDERATION, "clusters: [{cluster: event, firstNode: 0}]"),
        "spec.clusters[0].cluster",
        "there is no KafkaCluster event; did you mean events?",
    ),
    (
        "a federation whose brokers have no room",
        of(FEDERATION, "clusters: [{cluster: events, firstNode: 5}, {cluster: events, firstNode: 5}]"),
        "spec.clusters[1].firstNode",
        "5 is not above 5",
    ),
    (
        "a federation in which a topic belongs to two",
        of(FEDERATION, 'clusters: [{cluster: events, firstNode: 0, topics: ["a*"]}, {cluster: events, firstNode: 5, topics: ["a*"]}]'),
        "spec.clusters[1].topics",
        "'a*' is said to be in events already",
    ),
    ("a pattern that is none", of(FEDERATION, 'clusters: [{cluster: events, firstNode: 0, topics: ["*"]}]'), "spec.clusters[0].topics[0]", "pattern"),
    (
        "a federation that is called as a cluster",
        of(FEDERATION, "clusters: [{cluster: events, firstNode: 0}]", "events"),
        "metadata.name",
        "would be either",
    ),
    ("a tenant that is called as its cluster", of(TENANT, 'cluster: events, prefix: "a."', "events"), "metadata.name", "would be either"),
    (
        "an alias of its own name",
        of(TENANT, 'cluster: events, prefix: "a.", aliases: {topics: {x: a.y}}'),
        "spec.aliases.topics.x",
        "a.y has the prefix",
    ),
    (
        "two aliases of one",
        of(TENANT, 'cluster: events, prefix: "a.", aliases: {groups: {x: z, y: z}}'),
        "spec.aliases.groups.y",
        "z is x already",
    ),
    # Listeners
    ("a way to log in", of("Listener", f"{LISTENER}, auth: kerberos"), "spec.auth", "'scram'"),
    ("users without passwords", of("Listener", f"{LISTENER}, auth: password, users: [{{name: a}}]"), "spec.users[0]", "needs a password for a"),
    (
        "certificates of nobody",
        of("Listener", f"{LISTENER}, tls: {{{CERTIFICATE}, requireClientCert: true}}"),
        "spec.tls.requireClientCert",
        "add clientCaFrom",
    ),
    ("certificates without TLS", of("Listener", f"{LISTENER}, auth: cert"), "spec.auth", "cert needs TLS with client certificates"),
    ("an address taken", of("Listener", LISTENER.replace("7000", "6379")), "spec.address", "port 6379 is taken by Listener cache"),
    (
        "a back end of another family",
        of("Listener", LISTENER.replace("backend: cache", "backend: shop")),
        "spec.backend",
        "there is no RedisCluster shop",
    ),
    # rules that look into records
    (
        "two schemas",
        of("KafkaRecordPolicy", "listeners: [events], topics: [a], produce: {value: {jsonSchema: {}, jsonSchemaFrom: {env: S}}}"),
        "spec.produce.value",
        "give one of jsonSchema and jsonSchemaFrom",
    ),
    (
        "ids without a frame",
        of("KafkaRecordPolicy", "listeners: [events], topics: [a], produce: {key: {jsonSchema: {}, ids: [1]}}"),
        "spec.produce.key",
        "write framing: confluent",
    ),
    ("no schema", of("KafkaRecordPolicy", "listeners: [events], topics: [a], produce: {key: {}}"), "spec.produce.key", "asks for nothing"),
    # policies and secrets
    ("a rule of no class", of("AccessPolicy", "listeners: [shop], rules: [{allow: [reading]}]"), "spec.rules[0].allow[0]", "'read'"),
    ("a limit in no time", of("RateLimit", "listeners: [cache], limit: {requests: 1, per: 0s}"), "spec.limit", "a limit per 0s allows nothing"),
    ("a limit of nothing", of("RateLimit", "listeners: [cache], limit: {requests: 0, per: 1s}"), "spec.limit.requests", "greater than"),
    ("a limit of two things", of("RateLimit", "listeners: [cache], limit: {requests: 1, bytes: 1}"), "spec.limit", "give one of the two"),
    ("bytes refused", of("RateLimit", "listeners: [cache], limit: {bytes: 1, over: refuse}"), "spec.limit", "can't be refused"),
    ("refused by client", of("RateLimit", "listeners: [cache], limit: {requests: 1, each: client}"), "spec.limit", "for limits that throttle"),
    ("Redis throttled", of("RateLimit", "listeners: [cache], limit: {bytes: 1}"), "spec.listeners[0]", "Listener cache speaks redis"),
    ("all throttled", of("RateLimit", 'listeners: ["*"], limit: {requests: 1, over: throttle}'), "spec.listeners[0]", "speaks postgres"),
    ("two faults in one", of("Fault", "listeners: [shop], percent: 5, delay: 1s, error: true"), "spec", "give one of the two"),
    ("a message of no error", of("Fault", "listeners: [shop], percent: 5, delay: 1s, message: no"), "spec", "message is the text of an error"),
    ("a secret of two sources", of("Secret", "from: {env: A, file: /b}"), "spec.from", "give exactly one of env and file"),
    ("a secret of none", of("Secret", ""), "spec", "give exactly one of from, certificate with key, and ca"),
    ("a certificate without key", of("Secret", "certificate: {file: /c}"), "spec", "certificate and key belong together"),
]


@pytest.mark.parametrize(("text", "path", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_it_is_refused_where_it_is_wrong(text, path, said):
    found = [complaint for complaint in complaints(f"{SHOP}---\n{text}") if said in complaint]
    assert found, complaints(f"{SHOP}---\n{text}")
    assert any(path in complaint for complaint in found), found
    file, line, _ = found[0].split(":", 2)
    assert file == "shop.yaml"
    assert FIRST_LINE <= int(line) < FIRST_LINE + 4, found[0]


def test_of_tenants_that_begin_alike_the_later_is_refused():
    one, other = (of(TENANT, f'cluster: events, prefix: "{prefix}"', name) for name, prefix in (("one", "a."), ("other", "a.b.")))
    (complaint,) = complaints(f"{SHOP}---\n{one}---\n{other}")
    assert f"shop.yaml:{FIRST_LINE + 8}: KafkaVirtualCluster other: spec.prefix:" in complaint and "one would see the other's names" in complaint
