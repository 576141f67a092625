"""Apache Kafka on loopback: real brokers (KRaft) when there is Java, librdkafka's mock cluster when there is not.

`choose` takes the real one when it can. Both have `start`, `stop`, `bootstrap`, `is_real` and `log_contains`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from . import account, kafka_jars, kafka_properties, ports, wait
from .errors import LabError
from .kafka_properties import Broker
from .process import Process

HEAP = ("-Xms256m", "-Xmx512m")
START_DEADLINE_S = 120.0  # one broker 5 s idle; three on a loaded machine of two cores 20 s and more


class Kafka:
    """`brokers` nodes (1 to 3), each broker and controller. `users` (name to password) opens a second listener
    per broker beside the plain one, for SASL by PLAIN, SCRAM and unsigned tokens. `settings` are lines of server.properties.
    `host` is an address of loopback: with one of their own the brokers' addresses can be told from everybody else's.
    """

    is_real = True

    def __init__(
        self,
        brokers: int = 1,
        *,
        users: dict[str, str] | None = None,
        settings: dict[str, str] | None = None,
        heap: tuple[str, ...] = HEAP,
        host: str = ports.LOOPBACK,
    ) -> None:
        held = ports.free_range(3 * brokers)
        self.directory = account.scratch("kafka")
        self.users, self._settings, self._heap = users or {}, settings or {}, heap
        self.brokers = [
            Broker(index + 1, plain=held[index], controller=held[brokers + index], sasl=held[2 * brokers + index], host=host)
            for index in range(brokers)
        ]
        self._processes: list[Process] = []

    def start(self) -> Kafka:
        """Fetches the jars if needed, formats, spawns, and returns once a client saw every broker."""
        if not self._processes:
            self._processes = self._prepare()
        for process in self._processes:
            if not process.alive:
                process.spawn()
        for process, broker in zip(self._processes, self.brokers, strict=True):
            self._wait_for(process, broker)
        return self

    def start_broker(self, index: int) -> None:
        """Starts a killed or stopped broker again and waits for it."""
        self._processes[index].spawn()
        self._wait_for(self._processes[index], self.brokers[index])

    def stop(self) -> None:
        """All brokers together: one alone would wait for the others' quorum."""
        if self._processes:
            wait.stop_all(*self._processes)

    def stop_broker(self, index: int) -> None:
        """A controlled shutdown of one broker: its partitions get other leaders first."""
        self._processes[index].stop()

    def kill(self, index: int | None = None) -> None:
        """kill -9 of one broker, or of all."""
        for process in self._processes if index is None else [self._processes[index]]:
            process.kill()

    def bootstrap(self, *, sasl: bool = False) -> list[str]:
        """HOST:PORT of every broker's plain listener, or of the SASL one."""
        return [f"{broker.host}:{broker.sasl if sasl else broker.plain}" for broker in self.brokers]

    def client_options(self, *, sasl_user: str | None = None) -> dict[str, Any]:
        """Keyword arguments for aiokafka's clients."""
        if sasl_user is None:
            return {"bootstrap_servers": self.bootstrap()}
        return {
            "bootstrap_servers": self.bootstrap(sasl=True),
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": sasl_user,
            "sasl_plain_password": self.users[sasl_user],
        }

    def create_topic(self, name: str, partitions: int = 4, replicas: int | None = None) -> None:
        """Returns once every partition has a leader."""
        wait.blocking(self._create_topic(name, partitions, replicas or min(3, len(self.brokers))))

    def log_contains(self, text: str) -> bool:
        return any(process.log_contains(text) for process in self._processes)

    def __enter__(self) -> Kafka:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _prepare(self) -> list[Process]:
        classpath = str(kafka_jars.fetch() / "*")
        java = kafka_jars.java() or "java"
        formatting, serving = [], []
        for broker in self.brokers:
            home = self.directory / f"broker-{broker.id}"
            home.mkdir()
            lines = kafka_properties.render(broker, self.brokers, home / "data", self.users, self._settings)
            (home / "server.properties").write_text(lines)
            formatting.append(
                Process("format", [java, "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool",
                                   "format", "-t", kafka_properties.CLUSTER_ID, "-c", "server.properties",
                                   *kafka_properties.format_arguments(self.users)], home)
            )  # fmt: skip
            serving.append(
                Process(f"kafka-{broker.id}", [java, *self._heap, "-cp", classpath, "kafka.Kafka", "server.properties"], home)
            )  # fmt: skip
        for process in formatting:
            process.spawn()
        for process in formatting:
            wait.until_true("formatting", lambda: process.exit_status is not None, deadline_s=START_DEADLINE_S)  # noqa: B023
            if process.kill() != 0:
                raise LabError(f"StorageTool format ended with {process.exit_status}:\n{process.log_tail()}")
        return serving

    def _wait_for(self, process: Process, broker: Broker) -> None:
        address = f"{broker.host}:{broker.plain}"
        wait.until(
            f"metadata from {process.name}",
            lambda: wait.blocking(_sees(address, broker.id)),
            process=process,
            deadline_s=START_DEADLINE_S,
            poll_s=0.1,  # an attempt costs both sides a connection
        )

    async def _create_topic(self, name: str, partitions: int, replicas: int) -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap())
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, partitions, replicas)], timeout_ms=30_000)
            while not await _all_led(admin, name, partitions):
                pass  # every turn is a round trip to the broker; `blocking` bounds it
        finally:
            await admin.close()


class MockKafka:
    """librdkafka's mock cluster in a process of its own. Ports are its own choice; topics are created on first use
    with 4 partitions; 5 MB are kept per partition; there is no admin API and no SASL.
    """

    is_real = False

    def __init__(self, brokers: int = 3) -> None:
        script = str(Path(__file__).with_name("_mock_kafka.py"))
        self._process = Process("mock-kafka", [sys.executable, script, str(brokers)], account.scratch("mock-kafka"))
        self._brokers = brokers

    def start(self) -> MockKafka:
        self._process.spawn()
        wait.until("metadata from the mock cluster", self._login, process=self._process)
        return self

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        """All brokers at once: they live in one process."""
        self._process.kill()

    def bootstrap(self) -> list[str]:
        ready = [line for line in self._process.log_text().splitlines() if line.startswith("READY ")]
        if not ready:
            raise LabError("the mock cluster has not said its addresses yet")
        return ready[-1].split()[1:]

    def client_options(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.bootstrap()}

    def log_contains(self, text: str) -> bool:
        return self._process.log_contains(text)

    def __enter__(self) -> MockKafka:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _login(self) -> None:
        addresses = self.bootstrap()
        for broker, address in enumerate(addresses, start=1):
            wait.blocking(_sees(address, broker))


def choose(brokers: int = 1, *, real: bool | None = None) -> Kafka | MockKafka:
    """A real Kafka when Java is there (or `real` demands it), else the mock one."""
    if real is None:
        real = kafka_jars.available()
    return Kafka(brokers) if real else MockKafka(brokers)


async def _sees(address: str, broker_id: int) -> None:
    from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]

    host, port = address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))  # aiokafka logs every refused connection as an error
    writer.close()
    client = AIOKafkaClient(bootstrap_servers=address, request_timeout_ms=5000)
    try:
        await client.bootstrap()
        known = {broker.nodeId for broker in client.cluster.brokers()}
        if broker_id not in known:
            raise LabError(f"broker {broker_id} is not among {sorted(known)}")
    finally:
        await client.close()


async def _all_led(admin: Any, topic: str, partitions: int) -> bool:
    described = (await admin.describe_topics([topic]))[0]
    leaders = [partition["leader"] for partition in described["partitions"]]
    return len(leaders) == partitions and all(leader > 0 for leader in leaders)
