"""The objects of the demo, as a person would write them: what stands at the start, and the rules that are pushed later."""

from __future__ import annotations

from dataclasses import dataclass

PASSWORD_VARIABLE = "SHOP_PASSWORD"


@dataclass(frozen=True)
class Rule:
    """One authored file; `kind` and `name` are of its only object."""

    file: str
    kind: str
    name: str
    text: str


SHARDING = Rule("2-orders-sharded.yaml", "Sharding", "shop", """\
apiVersion: midstream/v1
kind: Sharding
metadata: {name: shop}
spec:
  database: shop
  home: s0                               # where every table lives that is not named below
  tables:
    - {name: orders, key: customer_id, method: hash}
""")  # fmt: skip

TOPIC_DENIED = Rule("3-no-clicks.yaml", "AccessPolicy", "no-clicks", """\
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: no-clicks}
spec:
  listeners: [events]
  rules:
    - {deny: [write], resources: [shop-clicks]}
    - {allow: ["*"], resources: ["*"]}
""")  # fmt: skip

LIMIT_PER_S, LIMIT_BURST = 25, 10
PREFIX_LIMITED = Rule("4-catalog-limit.yaml", "RateLimit", "catalog", f"""\
apiVersion: midstream/v1
kind: RateLimit
metadata: {{name: catalog}}
spec:
  listeners: [cache]
  match: {{class: [read], resources: ["catalog:*"]}}
  limit: {{requests: {LIMIT_PER_S}, per: 1s, burst: {LIMIT_BURST}}}
""")  # fmt: skip

AFTER_RETURN = Rule("7-slow-sign-ups.yaml", "Fault", "slow-sign-ups", """\
apiVersion: midstream/v1
kind: Fault
metadata: {name: slow-sign-ups}
spec: {listeners: [shop], match: {class: [write], resources: [customers]}, percent: 5, delay: 50ms}
""")  # fmt: skip


MISSPELT = Rule("5a-misspelt.yaml", "RateLimit", "misspelt", """\
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: misspelt}
spec:
  listeners: [cache]
  limit: {reqests: 40, per: 1s}
""")  # fmt: skip
MISSPELT_LINE = 6


def colliding(port: int) -> Rule:
    """A listener where another program listens already: only the sidecar can find that out."""
    return Rule("5b-address-in-use.yaml", "Listener", "colliding", f"""\
apiVersion: midstream/v1
kind: Listener
metadata: {{name: colliding}}
spec:
  address: "127.0.0.1:{port}"
  protocol: redis
  backend: cache
""")  # fmt: skip


COLLIDING_LINE = 5


def base(shards: list[str], cache_nodes: list[str], brokers: list[str], ports: dict[str, str]) -> Rule:
    """Back ends and listeners. `ports`: shop, cache, events (a port each) and brokers ("9100-9109")."""
    servers = "\n".join(f'    - {{name: s{index}, primary: "{where}/shop"}}' for index, where in enumerate(shards))
    return Rule("1-shop.yaml", "Listener", "shop", f"""\
apiVersion: midstream/v1
kind: Database
metadata: {{name: shop}}
spec:
  engine: postgres
  credentials: {{user: shop, passwordFrom: {{env: {PASSWORD_VARIABLE}}}}}
  pool: {{mode: transaction, size: 8}}
  shards:
{servers}
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: cache}}
spec: {{nodes: [{_quoted(cache_nodes)}]}}
---
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: events}}
spec: {{bootstrap: [{_quoted(brokers)}]}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: shop}}
spec: {{address: "127.0.0.1:{ports["shop"]}", protocol: postgres, backend: shop}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "127.0.0.1:{ports["cache"]}", protocol: redis, backend: cache}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: events}}
spec: {{address: "127.0.0.1:{ports["events"]}", protocol: kafka, backend: events, brokerPorts: "{ports["brokers"]}"}}
""")  # fmt: skip


def _quoted(words: list[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)
