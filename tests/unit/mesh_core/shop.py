"""The objects of the design's examples, and a short way to a complaint."""

from cache_mesh import migration as migration_model
from cache_mesh import redis as cache_model
from cache_mesh import routes as route_model
from db_mesh import model as db_model
from mesh_core.compile.builtin import kinds
from mesh_core.compile.compiler import Configuration, compile_world
from mesh_core.model.check import world_of
from mesh_core.model.kinds import Kinds
from mesh_core.model.problem import Invalid
from mesh_core.model.source import read
from msg_mesh import kafka as msg_model
from msg_mesh import records as record_model

SHOP = """\
apiVersion: midstream/v1
kind: Database
metadata: {name: shop}
spec:
  engine: postgres
  credentials: {user: app, passwordFrom: {env: SHOP_PASSWORD}}
  pool: {mode: transaction, size: 20}
  shards:
    - {name: s0, primary: "127.0.0.1:5441/shop", replicas: ["127.0.0.1:5451/shop"]}
    - {name: s1, primary: "127.0.0.1:5442/shop"}
---
apiVersion: midstream/v1
kind: Sharding
metadata: {name: shop}
spec:
  database: shop
  home: s0
  tables:
    - {name: orders, key: customer_id, method: hash}
    - {name: order_lines, key: customer_id, colocate: orders}
    - {name: countries, reference: true}
---
apiVersion: midstream/v1
kind: Listener
metadata: {name: shop}
spec: {address: "127.0.0.1:5432", protocol: postgres, backend: shop}
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {name: cache}
spec: {nodes: ["127.0.0.1:7001", "127.0.0.1:7002"]}
---
apiVersion: midstream/v1
kind: Listener
metadata: {name: cache}
spec: {address: "127.0.0.1:6379", protocol: redis, backend: cache}
---
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {name: events}
spec: {bootstrap: ["127.0.0.1:19092"]}
---
apiVersion: midstream/v1
kind: Listener
metadata: {name: events}
spec: {address: "127.0.0.1:9092", protocol: kafka, backend: events, brokerPorts: "9100-9199"}
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: read-only-reports}
spec:
  listeners: [shop]
  identities: ["user:reports"]
  rules: [{allow: [read], resources: ["orders", "order_*"]}, {deny: [write, admin], resources: ["*"]}]
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: catalog}
spec: {listeners: [cache], match: {class: [read], resources: ["catalog:*"]}, limit: {requests: 1000, per: 1s, burst: 200}}
---
apiVersion: midstream/v1
kind: Fault
metadata: {name: slow-writes}
spec: {listeners: [shop], match: {class: [write]}, percent: 5, delay: 50ms}
"""


def all_kinds() -> Kinds:
    result = kinds()
    for family in (db_model, msg_model, record_model, cache_model, route_model, migration_model):
        family.register(result)
    return result


def compiled(text: str) -> Configuration:
    """Raises Invalid."""
    documents, problems = read(text, "shop.yaml")
    if problems:
        raise Invalid(problems)
    found = all_kinds()
    return compile_world(world_of(documents, found), found)


def complaints(text: str) -> list[str]:
    """Everything that is wrong with a text, as it is printed."""
    try:
        compiled(text)
    except Invalid as invalid:
        return [str(problem) for problem in invalid.problems]
    return []
