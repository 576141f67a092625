"""Everything the play needs, running: PostgreSQL shards, a cache cluster, brokers, a control plane and a sidecar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from confluent_kafka import Consumer, TopicPartition

from mesh_core.lab import Kafka, LabError, MockKafka, Postgres, RedisCluster, account, kafka_jars, ports, stop_all

from . import objects
from .objects import Rule
from .programs import Control, Sidecar
from .shop import Addresses
from .shop.events import CLICKS, ORDERS
from .shop.orders import SCHEMA

PASSWORD = "shop-password"
BROKER_PORTS = 10
BROKER_DEADLINE_S = 10.0
JARS_DEADLINE_S = 45.0  # of two minutes in all; without them there is the mock cluster

KafkaChoice = Literal["auto", "real", "mock"]


class Stage:
    """`build` starts it; `close` ends it. The shop's tables exist, empty, on every shard."""

    def __init__(self, shards: int, kafka: KafkaChoice) -> None:
        self.shards = [Postgres(f"s{index}", database="shop", users={"shop": PASSWORD}) for index in range(shards)]
        self.cache = RedisCluster()
        self._kafka_choice = kafka
        self.kafka: Kafka | MockKafka = MockKafka()
        self.directory: Path = account.scratch("demo")
        self.control = Control(self.directory)
        self.sidecar = Sidecar(self.directory, self.control, PASSWORD)
        self.addresses = Addresses(ports.prefer(5432), ports.prefer(6379), ports.prefer(9092))
        self._brokers = ports.prefer_range(9100, BROKER_PORTS)

    async def build(self) -> None:
        """All servers side by side, then the control plane, the sidecar and the base objects."""
        await asyncio.gather(
            *(asyncio.to_thread(start) for start in (*(shard.start for shard in self.shards), self.cache.start)),
            asyncio.to_thread(self._start_kafka),
            asyncio.to_thread(self.control.start),
        )
        await asyncio.gather(*(_create_tables(shard) for shard in self.shards))
        await asyncio.to_thread(self.sidecar.start)
        await self.control.apply(self.base)
        await self.control.wait_acked(self.base)
        await asyncio.to_thread(self.sidecar.wait_listening, self.listening)

    @property
    def listening(self) -> list[int]:
        return [self.addresses.database, self.addresses.cache, self.addresses.events]

    @property
    def base(self) -> Rule:
        return objects.base(
            [shard.address for shard in self.shards],
            self.cache.addresses[:3],
            self.kafka.bootstrap(),
            {
                "shop": str(self.addresses.database),
                "cache": str(self.addresses.cache),
                "events": str(self.addresses.events),
                "brokers": f"{self._brokers[0]}-{self._brokers[-1]}",
            },
        )

    async def rows_per_shard(self) -> list[int]:
        """Orders on each server, asked directly."""
        counts = await asyncio.gather(*(shard.fetch("select count(*) as n from orders") for shard in self.shards))
        return [rows[0]["n"] for rows in counts]

    async def records_in(self, topic: str) -> int:
        """Records of a topic on the brokers, asked directly."""
        return await asyncio.to_thread(_records_in, topic, ",".join(self.kafka.bootstrap()))

    def addresses_to_play_with(self) -> list[str]:
        """For --keep: what to type."""
        return [
            "",
            f"psql 'postgresql://shop@localhost:{self.addresses.database}/shop'",
            f"redis-cli -p {self.addresses.cache}",
            f"kcat -b localhost:{self.addresses.events} -L",
            f"MIDSTREAM_CONTROL={self.control.rest} midstream status",
            f"curl http://{self.sidecar.admin}/metrics",
            f"authored files are in {self.directory}; press Ctrl-C to end it all",
        ]

    def close(self) -> None:
        self.sidecar.process.kill()
        self.control.kill()
        stop_all(*self.shards, self.cache, self.kafka)

    def _start_kafka(self) -> None:
        """A real Kafka where there is Java and its jars come quickly, else the mock cluster."""
        wanted = self._kafka_choice
        if wanted == "real" or (wanted == "auto" and kafka_jars.available()):
            try:
                kafka_jars.fetch(JARS_DEADLINE_S)
                self.kafka = Kafka()
            except LabError:
                if wanted == "real":
                    raise
        self.kafka.start()
        if isinstance(self.kafka, Kafka):
            self.kafka.create_topic(ORDERS)
            self.kafka.create_topic(CLICKS)


async def _create_tables(shard: Postgres) -> None:
    connection = await shard.connect(user="shop")
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


def _records_in(topic: str, bootstrap: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "auditor"})
    try:
        partitions = consumer.list_topics(topic, timeout=BROKER_DEADLINE_S).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=BROKER_DEADLINE_S) for number in partitions]
        return sum(high for _, high in marks)
    finally:
        consumer.close()
