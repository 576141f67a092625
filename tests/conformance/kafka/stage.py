"""A cluster of its own for every side of every run, and a sidecar with a sniffer before the one that is met through the mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh_core.lab import Kafka, ports
from tests.integration.process import Sidecar

from ..suite import HOST
from .modes import FOREIGN_TOPIC, NODES, PHYSICAL_HOST, Mode
from .scene import At
from .sniffer import Sniffer

# Access rules are kept and nobody is refused.
SETTINGS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
}


@contextmanager
def direct(brokers: int, folder: Path) -> Iterator[At]:
    """The cluster itself."""
    with Kafka(brokers, settings=SETTINGS, host=PHYSICAL_HOST) as cluster:
        yield At(",".join(cluster.bootstrap()), brokers, folder, {f"{PHYSICAL_HOST}:{one.plain}": f"broker-{one.id}" for one in cluster.brokers})


@contextmanager
def mesh(mode: Mode, brokers: int, folder: Path) -> Iterator[At]:
    """A cluster behind a sidecar; clients reach it through the sniffer."""
    held = ports.free_range(2 * (1 + NODES))
    own, told = held[: 1 + NODES], held[1 + NODES :]
    with Kafka(brokers, settings=SETTINGS, host=PHYSICAL_HOST) as cluster:
        if mode.forbidden:
            cluster.create_topic(FOREIGN_TOPIC, 1)
        sidecar = Sidecar(mode.written(cluster.bootstrap(), own[0], told[1]), folder / "sidecar", workers=2)
        with Sniffer(dict(zip(told, own, strict=True)), mode.secrets) as sniffer:
            sidecar.start()
            try:
                known = {f"{HOST}:{told[1] + node}": f"broker-{node}" for node in range(NODES)}
                yield At(f"{HOST}:{told[0]}", brokers, folder, known, sniffer)
            finally:
                sidecar.stop()
                (folder / "sidecar.log").write_text(sidecar.log)
