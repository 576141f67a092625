"""Kafka: its own ProducerPerformance and ConsumerPerformance against one broker.

A Kafka client connects to the address that the broker advertises, so every proxy that does not rewrite addresses has a listener of the
broker to itself, which advertises the proxy.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from contextlib import ExitStack
from typing import Any

from mesh_core.lab import Kafka as Broker
from mesh_core.lab import kafka_jars, ports
from tests.bench import proxies
from tests.bench.kafka_fetch import SMALL, fetches
from tests.bench.ladder import Rung, Target, Workload
from tests.bench.measure import Done

RECORD_BYTES = 1_000
RECORDS = 500_000  # half a GB
PARTITIONS = 4
READ, WRITTEN = "read", "written"
RATE = re.compile(r"([\d.]+) MB/sec")
PRODUCER = ["acks=1", "linger.ms=5", "batch.size=131072"]
CLEAN = {  # what produce runs wrote is deleted soon: the disk stays small
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "log.segment.bytes": str(64 << 20),
    "log.initial.task.delay.ms": "1000",
}


class Kafka:
    name = "kafka"

    def __init__(self) -> None:
        self.workloads = [Workload("consume", "s/GB", self._consume), Workload("produce", "s/GB", _produce), Workload("small fetch", "us", fetches)]
        self.targets = [
            *[Target(name, "parse", ("haproxy", name), 1.1) for name in ("consume", "produce")],
            *[Target(name, "parse", ("direct", name), 0.95, what="rate") for name in ("consume", "produce")],
            # A topic without rules, while others have rules.
            *[Target(name, "others", ("haproxy", name), 1.1) for name in ("consume", "produce")],
            Target("small fetch", "parse", ("direct", "small fetch"), 0.15e-3, what="added p50"),
        ]
        self._groups = 0

    def start(self, stack: ExitStack, scale: float) -> list[Rung]:
        settings = dict(CLEAN)
        broker = Broker(settings=settings, heap=("-Xms512m", "-Xmx512m"))
        relay = proxies.listener("relay", "tcp", "relay")
        proxied = {"HAPROXY": (ports.free(), f"{ports.LOOPBACK}:{ports.free()}"), "RELAY": (ports.free(), relay["spec"]["address"])}
        settings.update(_listeners(broker, proxied))
        stack.enter_context(broker)
        direct = broker.bootstrap()[0]
        objects = [
            proxies.new("TcpService", "relay", endpoint=f"{ports.LOOPBACK}:{proxied['RELAY'][0]}"),
            proxies.new("KafkaCluster", "events", bootstrap=[direct]),
            relay,
            *[proxies.listener(name, "kafka", "events", brokerPorts=_range(ports.free_range(4))) for name in ("parse", "others", "chain")],
            *proxies.policies("chain"),
            _rules_of_others(),
        ]
        rungs = [
            Rung("direct", direct, None),
            *proxies.midstream(stack, objects, {name: name for name in ("relay", "parse", "others", "chain")}),
            proxies.haproxy(stack, int(proxied["HAPROXY"][1].rpartition(":")[2]), f"{ports.LOOPBACK}:{proxied['HAPROXY'][0]}"),
        ]
        broker.create_topic(READ, PARTITIONS)
        broker.create_topic(WRITTEN, PARTITIONS)
        broker.create_topic(SMALL, 1)
        _keep_little(direct)
        _records(rungs[0], READ, int(RECORDS * scale))
        _records(rungs[0], SMALL, 1)
        return rungs

    def _consume(self, rung: Rung, scale: float) -> Done:
        """From the beginning, by a group of its own."""
        self._groups += 1
        records = int(RECORDS * scale)
        said = _java(
            "org.apache.kafka.tools.ConsumerPerformance",
            ["--bootstrap-server", rung.address, "--topic", READ, "--num-records", str(records), "--group", f"bench-{self._groups}"],
        )
        header, row = (line.split(", ") for line in said.splitlines() if line.count(", ") > 5)
        return Done(records * RECORD_BYTES / 1e9, float(row[header.index("fetch.MB.sec")]))


def _produce(rung: Rung, scale: float) -> Done:
    return _records(rung, WRITTEN, int(RECORDS * scale))


def _records(rung: Rung, topic: str, records: int) -> Done:
    said = _java(
        "org.apache.kafka.tools.ProducerPerformance",
        ["--topic", topic, "--num-records", str(records), "--record-size", str(RECORD_BYTES), "--throughput", "-1",
         "--producer-props", f"bootstrap.servers={rung.address}", *PRODUCER],
    )  # fmt: skip
    return Done(records * RECORD_BYTES / 1e9, float(RATE.findall(said)[-1]))


def _rules_of_others() -> dict[str, Any]:
    """All kinds of rules that look into records, of topics that nobody here uses."""
    keys = {"env": "BENCH_KAFKA_KEYS"}
    lanes = {"header": "lane", "lanes": [{"name": "blue", "clientIds": ["blue*"]}]}
    rules = {"produce": {"requireHeaders": ["trace"]}, "lanes": lanes, "encryption": {"keysFrom": keys}}
    os.environ[keys["env"]] = f"bench {base64.b64encode(bytes(32)).decode()}"
    return proxies.new("KafkaRecordPolicy", "others", listeners=["others"], topics=["others-*"], **rules)


def _listeners(broker: Broker, proxied: dict[str, tuple[int, str]]) -> dict[str, str]:
    """The broker's plain listener, its controller's, and one for each proxy; by name: its port and what it advertises."""
    node = broker.brokers[0]
    bound = {"PLAINTEXT": node.plain, "CONTROLLER": node.controller, **{name: port for name, (port, _) in proxied.items()}}
    advertised = {"PLAINTEXT": f"{ports.LOOPBACK}:{node.plain}", **{name: address for name, (_, address) in proxied.items()}}
    return {
        "listeners": ",".join(f"{name}://{ports.LOOPBACK}:{port}" for name, port in bound.items()),
        "advertised.listeners": ",".join(f"{name}://{address}" for name, address in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in bound),
    }


def _range(held: range) -> str:
    return f"{held.start}-{held.stop - 1}"


def _keep_little(address: str) -> None:
    arguments = ["--bootstrap-server", address, "--alter", "--entity-type", "topics", "--entity-name", WRITTEN]
    _java("kafka.admin.ConfigCommand", [*arguments, "--add-config", f"retention.bytes={64 << 20}"])


def _java(tool: str, arguments: list[str]) -> str:
    program = [kafka_jars.java() or "java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", str(kafka_jars.fetch() / "*")]
    ran = subprocess.run([*program, tool, *arguments], capture_output=True, text=True, timeout=300)
    if ran.returncode:
        raise RuntimeError(f"{tool} {' '.join(arguments)}: {ran.stdout[-800:]} {ran.stderr[-800:]}")
    return ran.stdout
