"""All brokers at one port: the name that a client asks for when TLS begins says which one it wants."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from mesh_core.lab import Kafka, ports
from tests.conftest import start
from tests.integration.process import Sidecar

OBJECTS = """
apiVersion: midstream/v1
kind: KafkaCluster
metadata: {{name: events}}
spec: {{bootstrap: ["{broker}"]}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: events}}
spec:
  address: "127.0.0.1:{port}"
  protocol: kafka
  backend: events
  brokerHosts: "b{{node}}.events.local"
  tls: {{certFrom: {{file: {certificate}}}, keyFrom: {{file: {key}}}}}
"""


def authority_in(folder: Path):
    from mesh_core.lab.certs import Authority  # wants `cryptography`, which only TLS needs

    return Authority(folder)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name server would say."""
    ask = socket.getaddrinfo

    def resolved(host: str, *args: object, **options: object):
        return ask("127.0.0.1" if str(host).endswith("events.local") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


async def test_one_port_for_all_brokers(kafka: Kafka, sidecar: Callable[..., Sidecar], tmp_path: Path) -> None:
    kafka.create_topic("named", partitions=1)
    authority = start(lambda: authority_in(tmp_path))
    pair = authority.issue("*.events.local")
    port = ports.free()
    sidecar(OBJECTS.format(broker=kafka.bootstrap()[0], port=port, certificate=pair.certificate, key=pair.key))
    trusted = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context(cafile=str(authority.certificate))}
    # The broker's own name is a bootstrap address as good as any other that the certificate covers.
    for bootstrap in (f"kafka.events.local:{port}", f"b1.events.local:{port}"):
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, **trusted) as producer:
            await producer.send_and_wait("named", b"x")
    admin = AIOKafkaAdminClient(bootstrap_servers=f"kafka.events.local:{port}", **trusted)
    await admin.start()
    try:
        told = [(broker["node_id"], broker["host"], broker["port"]) for broker in (await admin.describe_cluster())["brokers"]]
    finally:
        await admin.close()
    assert told == [(1, "b1.events.local", port)]
    options = {"auto_offset_reset": "earliest", "group_id": "named", **trusted}
    async with AIOKafkaConsumer("named", bootstrap_servers=f"kafka.events.local:{port}", **options) as consumer:
        assert [(await consumer.getone()).value for _ in range(2)] == [b"x", b"x"]


def test_a_certificate_that_covers_no_broker_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    pair = start(lambda: authority_in(tmp_path)).issue("kafka.other.local")
    written = OBJECTS.format(broker=kafka.bootstrap()[0], port=ports.free(), certificate=pair.certificate, key=pair.key)
    refused = Sidecar(written, tmp_path / "refused")
    refused.start(ready=False)
    assert refused.wait() != 0
    assert "spec.brokerHosts: the certificate is good for none of b{node}.events.local" in refused.log
