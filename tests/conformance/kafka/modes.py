"""How a sidecar stands before the cluster: what is configured, and what of the cluster its clients must never see."""

from __future__ import annotations

from dataclasses import dataclass

from mesh_core.lab.kafka_properties import CLUSTER_ID

from ..suite import HOST

# The brokers' host, of nobody else: where it reaches a client, an address has.
PHYSICAL_HOST = "127.77.0.1"
NODES = 4  # the port of broker 0, whom nobody asks for, and those of 1 to 3
# What topics, groups and transactional ids of the virtual cluster are called behind it.
PREFIX = "physically."
# Another tenant's topic, made on the cluster before any scene.
FOREIGN_TOPIC = "belongs-to-another-tenant"


@dataclass(frozen=True)
class Mode:
    """`backend` is whom the Listener leads to, `objects` are more documents; `forbidden` must not reach a client, beside the brokers' host."""

    name: str
    backend: str = "events"
    objects: str = ""
    forbidden: tuple[bytes, ...] = ()

    def written(self, brokers: list[str], port: int, told: int) -> str:
        """The objects of a sidecar at `port`, whose clients are told broker 0 at port `told`."""
        bootstrap = ", ".join(f'"{broker}"' for broker in brokers)
        return f"""
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: events}}
spec: {{bootstrap: [{bootstrap}]}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: events}}
spec:
  address: "{HOST}:{port}"
  protocol: kafka
  backend: {self.backend}
  brokerPorts: "{port + 1}-{port + NODES}"
  advertisedPort: {told}
{self.objects}"""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return (PHYSICAL_HOST.encode(), *self.forbidden)


TENANT = f"""
---
apiVersion: midstream/v1
kind: KafkaVirtualCluster
metadata: {{name: tenant}}
spec: {{cluster: events, prefix: "{PREFIX}"}}
"""
INTERNAL_TOPICS = (b"__consumer_offsets", b"__transaction_state", b"__share_group_state")
VIRTUAL = (PREFIX.encode(), CLUSTER_ID.encode(), FOREIGN_TOPIC.encode(), *INTERNAL_TOPICS)

MODES = {mode.name: mode for mode in (Mode("plain"), Mode("prefixed", backend="tenant", objects=TENANT, forbidden=VIRTUAL))}
