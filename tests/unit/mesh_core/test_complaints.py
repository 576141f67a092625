"""Every complaint: file, line, object, field, reason. One table; a row is what replaces what in the example, and what is said."""

import pytest

from tests.unit.mesh_core.shop import SHOP, complaints

SHARDS = SHOP[SHOP.index("shards:") : SHOP.index("\n---")]

ROWS = [
    # schema
    (
        "unknown field",
        "pool: {mode: transaction",
        "pool: {mod: transaction",
        "shop.yaml:7: Database shop: spec.pool.mod: is not a known field; did you mean mode?",
    ),
    ("unknown field on top", "spec: {nodes:", "extra: 1\nspec: {nodes:", "shop.yaml:31: RedisCluster cache: extra: is not a known field"),
    ("missing field", "engine: postgres", "tls: {mode: require}", "shop.yaml:4: Database shop: spec.engine: is missing; add it"),
    ("wrong type", "size: 20", "size: many", "shop.yaml:7: Database shop: spec.pool.size: input should be a valid integer"),
    ("out of range", "size: 20", "size: 0", "shop.yaml:7: Database shop: spec.pool.size: input should be greater than or equal to 1"),
    (
        "unknown kind",
        "kind: RedisCluster",
        "kind: RedisClster",
        "shop.yaml:29: RedisClster cache: kind: there is no kind 'RedisClster'; did you mean RedisCluster?",
    ),
    (
        "unknown version",
        "apiVersion: midstream/v1\nkind: Fault",
        "apiVersion: v2\nkind: Fault",
        "Fault slow-writes: apiVersion: 'v2' is not known; write midstream/v1",
    ),
    ("bad name", "metadata: {name: slow-writes}", "metadata: {name: 'slow writes'}", "metadata.name: 'slow writes' is not a name"),
    ("bad duration", "delay: 50ms", "delay: 50", "spec.delay: 50 is not a duration; write a whole number with a unit"),
    ("bad percent", "percent: 5", "percent: 101", "spec.percent: input should be less than or equal to 100"),
    ("a fault of nothing", ", delay: 50ms", "", "a fault is either a delay or an error"),
    ("bad port", "127.0.0.1:5441/shop", "127.0.0.1:99999/shop", "spec.shards[0].primary: '99999' is not a port"),
    ("a name to listen on", '"127.0.0.1:6379"', '"redis.internal:6379"', "spec.address: 'redis.internal' is not an IP address"),
    ("a relative path to listen at", '"127.0.0.1:6379"', '"unix:run/s"', "spec.address: 'run/s' is not the absolute path of a socket"),
    ("a long path to listen at", '"127.0.0.1:6379"', f'"unix:/{"x" * 100}"', "is longer than 100 bytes, which the paths of sockets may not be"),
    ("a mode of no file", "backend: cache", 'backend: cache, socketMode: "0600"', "spec.socketMode: is for an address in the file system"),
    ("two ways of a secret", "{env: SHOP_PASSWORD}", "{env: A, file: /b}", "spec.credentials.passwordFrom: give exactly one of env, file and secret"),
    ("allow and deny", "{allow: [read], resources", "{allow: [read], deny: [read], resources", "spec.rules[0]: a rule has either allow or deny"),
    ("two placements", "key: customer_id, method: hash", "key: customer_id, method: hash, colocate: x", "spec.tables[0]: give exactly one of method"),
    ("no key", "{name: orders, key: customer_id,", "{name: orders,", "spec.tables[0]: needs key"),
    # references
    ("missing backend", "backend: shop", "backend: shap", "shop.yaml:26: Listener shop: spec.backend: there is no Database shap; did you mean shop?"),
    ("unknown protocol", "protocol: redis", "protocol: reddis", "spec.protocol: there is no protocol 'reddis'; did you mean redis?"),
    ("missing database", "database: shop", "database: store", "spec.database: there is no Database store"),
    ("unknown home", "home: s0", "home: s9", "shop.yaml:17: Sharding shop: spec.home: Database shop has no shard s9; known are s0, s1"),
    ("unknown listener of a rule", "listeners: [cache]", "listeners: [cash]", "spec.listeners[0]: there is no Listener cash; did you mean cache?"),
    ("missing secret", "{env: SHOP_PASSWORD}", "{secret: none}", "spec.credentials.passwordFrom.secret: there is no Secret none"),
    (
        "colocated with nothing",
        "colocate: orders",
        "colocate: ordrs",
        "spec.tables[1].colocate: there is no table ordrs in this Sharding; did you mean orders?",
    ),
    ("colocated with a reference table", "colocate: orders", "colocate: countries", "table countries is a reference table"),
    # conflicts
    (
        "duplicate name",
        "metadata: {name: cache}\nspec: {address",
        "metadata: {name: shop}\nspec: {address",
        "is already the name of the Listener at shop.yaml:25",
    ),
    (
        "duplicate address",
        '"127.0.0.1:6379"',
        '"0.0.0.0:5432"',
        "shop.yaml:36: Listener cache: spec.address: port 5432 is taken by Listener shop (shop.yaml:26)",
    ),
    ("broker ports over an address", '"9100-9199"', '"6300-6400"', "port 6379 is taken by Listener cache"),
    ("own port among broker ports", '"9100-9199"', '"9000-9199"', "contains the port of the listener's own address"),
    ("broker names without TLS", 'brokerPorts: "9100-9199"', 'brokerHosts: "b{node}.local"', "spec.brokerHosts: needs TLS"),
    ("broker names that are one", 'brokerPorts: "9100-9199"', "brokerHosts: b.local", "spec.brokerHosts: has {node} not once"),
    ("broker names and ports", "brokerPorts:", 'brokerHosts: "b{node}.local", brokerPorts:', "spec.brokerPorts: is for brokers without names"),
    ("no broker ports", ', brokerPorts: "9100-9199"', "", "spec.brokerPorts: is missing"),
    ("a field of another protocol", "backend: cache", "backend: cache, brokerPorts: '1-2'", "spec.brokerPorts: means nothing to protocol redis"),
    (
        "no shard",
        SHARDS,
        "shards: []",
        "shop.yaml:8: Database shop: spec.shards: list should have at least 1 item",
    ),
    ("duplicate shard", "{name: s1,", "{name: s0,", "spec.shards[1].name: two shards are named s0"),
    ("one database twice", "127.0.0.1:5442/shop", "127.0.0.1:5441/shop", "spec.shards[1].primary: is the database of shard s0 already"),
    ("engine and protocol", "protocol: postgres", "protocol: mysql", "Database shop is postgres, the listener speaks mysql"),
    ("open to others", '"127.0.0.1:5432"', '"0.0.0.0:5432"', "can be reached from other machines, and no auth is given"),
    ("auth without users", "backend: shop}", "backend: shop, auth: scram}", "scram without users lets nobody in"),
    ("TLS without key", "backend: cache", "backend: cache, tls: {certFrom: {file: /c}}", "has a certificate without its key; add keyFrom"),
    ("unverifiable server", "engine: postgres", "engine: postgres\n  tls: {mode: verify-full}", "mode verify-full needs caFrom"),
]


@pytest.mark.parametrize(("old", "new", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_complaint(old, new, said):
    assert old in SHOP
    assert said in "\n".join(complaints(SHOP.replace(old, new, 1)))


PLACEMENTS = [
    (
        "overlapping ranges",
        "method: range, ranges: [{from: 1, to: 10, shard: s0}, {from: 5, shard: s1}]",
        "spec.tables[0].ranges[1]: overlaps ranges[0]",
    ),
    ("overlap with an open end", "method: range, ranges: [{from: 10, shard: s0}, {to: 11, shard: s1}]", "overlaps"),
    ("empty range", "method: range, ranges: [{from: 10, to: 10, shard: s0}]", "is empty: from is not below to"),
    ("a range of words for integers", "keyType: integer, method: range, ranges: [{from: a, to: b, shard: s0}]", "'a' is not an integer"),
    ("no ranges", "method: range", "method range needs ranges"),
    ("a range's shard", "method: range, ranges: [{from: 1, to: 10, shard: s7}]", "spec.tables[0].ranges[0].shard: Database shop has no shard s7"),
    (
        "a gap in the buckets",
        "method: hash, buckets: [{first: 0, last: 9, shard: s0}, {first: 11, last: 16383, shard: s1}]",
        "buckets 10 to 10 have no shard",
    ),
    (
        "overlapping buckets",
        "method: hash, buckets: [{first: 0, last: 9, shard: s0}, {first: 9, last: 16383, shard: s1}]",
        "buckets[1]: overlaps buckets up to 9",
    ),
    ("missing buckets", "method: hash, buckets: [{first: 0, last: 9, shard: s0}]", "buckets 10 to 16383 have no shard"),
    (
        "a value twice",
        "method: list, lists: [{values: [de, fr], shard: s0}, {values: [fr], shard: s1}]",
        "lists[1].values[0]: value 'fr' is listed in lists[0] already",
    ),
]


@pytest.mark.parametrize(("placement", "said"), [row[1:] for row in PLACEMENTS], ids=[row[0] for row in PLACEMENTS])
def test_placement_complaint(placement, said):
    assert said in "\n".join(complaints(SHOP.replace("method: hash", placement, 1)))


def test_ranges_compare_as_integers_where_all_are_and_else_as_text():
    # 9 < 10 as integers, "9" > "10" as text
    as_integers = "method: range, ranges: [{to: 10, shard: s0}, {from: 10, shard: s1}]"
    as_text = 'keyType: text, method: range, ranges: [{from: "10", to: "9", shard: s0}]'
    assert complaints(SHOP.replace("method: hash", as_integers, 1)) == []
    assert complaints(SHOP.replace("method: hash", as_text, 1)) == []


def test_all_that_is_wrong_is_said_at_once():
    text = SHOP.replace("home: s0", "home: s9").replace("backend: cache", "backend: cash").replace("listeners: [cache]", "listeners: [x]")
    assert len(complaints(text)) == 3


def test_the_example_is_right():
    assert complaints(SHOP) == []
