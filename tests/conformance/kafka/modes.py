"""How a sidecar stands before the cluster: what is configured, and what of the cluster its clients must never see."""

from __future__ import annotations

from dataclasses import dataclass

from ..suite import HOST

# The brokers' host, of nobody else: where it reaches a client, an address has.
PHYSICAL_HOST = "127.77.0.1"
NODES = 4  # the port of broker 0, whom nobody asks for, and those of 1 to 3


@dataclass(frozen=True)
class Mode:
    """`listener` are more fields of the Listener, `objects` more documents; `forbidden` must not reach a client, beside the brokers' host."""

    name: str
    listener: str = ""
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
  backend: events
  brokerPorts: "{port + 1}-{port + NODES}"
  advertisedPort: {told}
{self.listener}{self.objects}"""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return (PHYSICAL_HOST.encode(), *self.forbidden)


MODES = {mode.name: mode for mode in (Mode("plain"),)}
