"""Objects to resources, and refusals back to lines."""

from dataclasses import dataclass

import pytest

from msg_mesh import virtual
from tests.unit.mesh_core.shop import SHOP, compiled
from xds.messages import message, message_of, type_url
from xds.protocol.types import CLUSTER, ENDPOINTS, LISTENER, SECRET

SHARDING = type_url("midstream.sql.v1.Sharding")
DATABASE = type_url("midstream.sql.v1.Database")


def decoded(configuration) -> dict:
    return {(item.type_url, item.name): message_of(item.type_url).FromString(item.value) for item in configuration.resources}


@pytest.fixture(scope="module")
def shop():
    return decoded(compiled(SHOP))


def test_equal_objects_give_identical_bytes_in_any_order():
    documents = SHOP.split("---\n")
    one, other = compiled(SHOP), compiled("---\n".join(reversed(documents)))
    assert sorted(one.tuples()) == sorted(other.tuples())


def test_hash_buckets_go_in_equal_runs_in_listed_order(shop):
    runs = shop[SHARDING, "shop"].tables[0].hash.runs
    assert [(run.first, run.last, run.shard) for run in runs] == [(0, 8191, "s0"), (8192, 16383, "s1")]


def test_placements(shop):
    tables = shop[SHARDING, "shop"].tables
    assert [table.WhichOneof("placement") for table in tables] == ["hash", "colocate", "reference"]


def test_ranges_keep_open_ends_open():
    ranges = "method: range, ranges: [{to: 10, shard: s0}, {from: 10, shard: s1}]"
    spans = decoded(compiled(SHOP.replace("method: hash", ranges)))[SHARDING, "shop"].tables[0].range.spans
    assert [(span.HasField("from"), span.HasField("to")) for span in spans] == [(False, True), (True, False)]
    assert (spans[0].to, getattr(spans[1], "from")) == ("10", "10")


def test_a_shard_is_a_cluster_with_roles(shop):
    (locality,) = shop[ENDPOINTS, "sql/shop/s0"].endpoints
    roles = [
        (item.endpoint.address.socket_address.port_value, item.metadata.filter_metadata["midstream"].fields["role"].string_value)
        for item in locality.lb_endpoints
    ]
    assert roles == [(5441, "primary"), (5451, "replica")]
    assert shop[CLUSTER, "sql/shop/s0"].eds_cluster_config.eds_config.HasField("ads")


def test_a_listener_has_one_filter_of_its_protocol(shop):
    (chain,) = shop[LISTENER, "events"].filter_chains
    (filter_,) = chain.filters
    proxy = message("midstream.kafka.v1.KafkaProxy").FromString(filter_.typed_config.value)
    assert filter_.typed_config.type_url == type_url("midstream.kafka.v1.KafkaProxy")
    assert (proxy.backend, proxy.broker_port_first, proxy.broker_port_last) == ("events", 9100, 9199)


def test_a_listener_may_lead_to_a_tenant():
    tenant = """---
apiVersion: midstream/v1
kind: KafkaVirtualCluster
metadata: {name: team-a}
spec: {cluster: events, prefix: "team-a.", aliases: {topics: {orders: legacy}}}
"""
    found = decoded(compiled(SHOP.replace("backend: events", "backend: team-a") + tenant))
    (chain,) = found[LISTENER, "events"].filter_chains
    proxy = message("midstream.kafka.v1.KafkaProxy").FromString(chain.filters[0].typed_config.value)
    assert (proxy.backend, proxy.virtual_cluster) == ("events", "team-a")
    resource = found[type_url("midstream.kafka.v1.KafkaVirtualCluster"), "team-a"]
    assert (resource.cluster, resource.prefix, dict(resource.topics)) == ("events", "team-a.", {"orders": "legacy"})
    assert len(resource.cluster_id) == 22 and resource.cluster_id == virtual.cluster_id("events", "team-a")


def test_a_federation_is_its_listeners_backend_and_its_first_cluster_home():
    several = """---
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {name: audit}
spec: {bootstrap: ["127.0.0.1:7"]}
---
apiVersion: midstream/v1
kind: KafkaFederation
metadata: {name: all}
spec: {clusters: [{cluster: events, firstNode: 0}, {cluster: audit, firstNode: 50, topics: ["audit.*"], groups: [g]}]}
"""
    found = decoded(compiled(SHOP.replace("backend: events", "backend: all") + several))
    (chain,) = found[LISTENER, "events"].filter_chains
    proxy = message("midstream.kafka.v1.KafkaProxy").FromString(chain.filters[0].typed_config.value)
    assert (proxy.backend, proxy.federation) == ("events", "all")
    resource = found[type_url("midstream.kafka.v1.KafkaFederation"), "all"]
    told = [(one.cluster, one.first_node, list(one.topics), list(one.groups)) for one in resource.clusters]
    assert told == [("events", 0, [], []), ("audit", 50, ["audit.*"], ["g"])]
    assert len(resource.cluster_id) == 22


def test_a_secret_says_where_its_value_is_and_never_what_it_is(shop):
    name = shop[DATABASE, "shop"].credentials.password_secret
    secret = shop[SECRET, name]
    assert secret.generic_secret.secret.WhichOneof("specifier") == "environment_variable"
    assert secret.generic_secret.secret.environment_variable == "SHOP_PASSWORD"


def test_tls_names_its_secrets():
    tls = "backend: cache, tls: {certFrom: {file: /c}, keyFrom: {file: /k}, clientCaFrom: {secret: ca}}"
    ca = "---\napiVersion: midstream/v1\nkind: Secret\nmetadata: {name: ca}\nspec: {ca: {file: /ca}}\n"
    found = decoded(compiled(SHOP.replace("backend: cache", tls) + ca))
    proxy = message("midstream.redis.v1.RedisProxy").FromString(found[LISTENER, "cache"].filter_chains[0].filters[0].typed_config.value)
    pair = found[SECRET, proxy.tls.certificate_secret].tls_certificate
    assert (pair.certificate_chain.filename, pair.private_key.filename) == ("/c", "/k")
    assert (proxy.tls.client_ca_secret, proxy.tls.mode) == ("ca", 2)
    assert found[SECRET, "ca"].validation_context.trusted_ca.filename == "/ca"


def test_rules(shop):
    policy = shop[type_url("midstream.policy.v1.AccessPolicy"), "read-only-reports"]
    assert [(rule.effect, list(rule.classes), list(rule.resources)) for rule in policy.rules] == [(1, [1], ["orders", "order_*"]), (2, [2, 3], ["*"])]
    limit = shop[type_url("midstream.policy.v1.RateLimit"), "catalog"]
    assert (limit.requests, limit.period_ms, limit.burst, list(limit.match.classes)) == (1000, 1000, 200, [1])
    fault = shop[type_url("midstream.policy.v1.Fault"), "slow-writes"]
    assert (fault.percent, fault.delay_ms, fault.error) == (5.0, 50, False)


@dataclass
class Refusal:
    type_url: str
    name: str
    field: str
    reason: str = "no"


BLAME = [
    (Refusal(LISTENER, "cache", "address.socket_address.port_value"), "shop.yaml:36: RedisCluster", "spec.address"),
    (Refusal(LISTENER, "cache", ""), "shop.yaml:36", "spec"),
    (Refusal(SHARDING, "shop", "tables[1].colocate.table"), "shop.yaml:20", "spec.tables[1].colocate"),
    (Refusal(SHARDING, "shop", "tables[0].hash.runs[1].shard"), "shop.yaml:19", "spec.tables[0]"),
    (Refusal(DATABASE, "shop", "credentials.password_secret"), "shop.yaml:6", "spec.credentials.passwordFrom"),
    (Refusal(DATABASE, "shop", "shards[1].cluster"), "shop.yaml:10", "spec.shards[1]"),
    (Refusal(DATABASE, "shop", "pool.wait_timeout_ms"), "shop.yaml:7", "spec.pool"),
    (Refusal(ENDPOINTS, "sql/shop/s1", "endpoints[0].lb_endpoints[0]"), "shop.yaml:10", "spec.shards[1]"),
    (Refusal(SECRET, "Database/shop/credentials.passwordFrom", ""), "shop.yaml:6", "spec.credentials.passwordFrom"),
    (Refusal(LISTENER, "events", "filter_chains[0].filters[0].typed_config.broker_port_first"), "shop.yaml:46", "spec.brokerPorts"),
]


@pytest.mark.parametrize(("refusal", "place", "path"), BLAME, ids=lambda value: getattr(value, "field", None))
def test_a_refusal_is_blamed_on_the_line_that_was_written(refusal, place, path):
    problem = compiled(SHOP).blame.problem(refusal)
    assert f"{problem.file}:{problem.line}" == place.partition(": ")[0]
    assert problem.path == path


def test_a_resource_nobody_wrote_keeps_its_own_name():
    problem = compiled(SHOP).blame.problem(Refusal(DATABASE, "foreign", "pool"))
    assert (problem.kind, problem.name, problem.path, problem.file) == ("Database", "foreign", "pool", "")
