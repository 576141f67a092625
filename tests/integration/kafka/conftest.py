"""A sidecar in front of a real Kafka of one broker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from mesh_core.lab import Kafka, ports
from tests.integration.process import Sidecar

BROKER_PORTS = 4


@dataclass
class Mesh:
    """A sidecar, and where its Kafka listener is."""

    sidecar: Sidecar
    port: int
    objects: str

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def broker_port(self, node: int) -> int:
        return self.port + 1 + node

    def apply(self, rules: str) -> None:
        """Puts rules in force beside the listener."""
        before = self.sidecar.get("/config").text
        self.sidecar.reload(self.objects + rules)
        wait_until(lambda: self.sidecar.get("/config").text != before)


def wait_until(condition: Callable[[], bool]) -> None:
    from mesh_core.lab import wait

    wait.until_true("the rules are in force", condition, deadline_s=10)


def objects(brokers: list[str], port: int, cluster: str = "", listener: str = "", name: str = "events") -> str:
    """A cluster and its listener; more of their fields, as YAML in flow style."""
    first, last = port + 1, port + BROKER_PORTS
    return f"""
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: {name}}}
spec: {{bootstrap: [{", ".join(f'"{broker}"' for broker in brokers)}], {cluster}}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "127.0.0.1:{port}", protocol: kafka, backend: {name}, brokerPorts: "{first}-{last}", {listener}}}
"""


@pytest.fixture
def mesh(kafka: Kafka, sidecar: Callable[..., Sidecar]) -> Iterator[Callable[..., Mesh]]:
    """``mesh(rules, sasl=False)`` starts a sidecar; the broker of the lab has node id 1."""

    def start(rules: str = "", *, sasl: bool = False, workers: int = 1, cluster: str = "", listener: str = "") -> Mesh:
        port = ports.free_range(1 + BROKER_PORTS)[0]
        written = objects(kafka.bootstrap(sasl=sasl), port, cluster, listener)
        return Mesh(sidecar(written + rules, workers=workers), port, written)

    yield start
