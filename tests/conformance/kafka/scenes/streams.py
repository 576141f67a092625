"""Kafka Streams: the word count of its examples, with the classic protocol and the new one (KIP-1071)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from mesh_core.lab import kafka_jars

from ...fetch import CACHE
from ..scene import DEADLINE_S, At, Failed, Scene

MAIN = "org.apache.kafka.streams.examples.wordcount.WordCountDemo"
SOURCE, SINK = "streams-plaintext-input", "streams-wordcount-output"
LINES = ("all streams lead to kafka", "hello kafka streams", "join kafka summit", "kafka")


def _jars() -> Path:
    """The examples and what they need, fetched once."""
    home = CACHE / f"kafka-streams-{kafka_jars.VERSION}"
    if not home.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            wanted = [("org.apache.kafka", "kafka-streams-examples", kafka_jars.VERSION), ("org.slf4j", "slf4j-simple", "1.7.36")]
            kafka_jars.copy_dependencies(Path(work), wanted)
            (Path(work) / "lib").rename(home)
    return home


def _play(protocol: str) -> Scene:
    def word_count(at: At) -> Iterator[str]:
        copies, application = at.replicas, f"words-{protocol}"
        admin = AdminClient({"bootstrap.servers": at.bootstrap})
        for future in admin.create_topics([NewTopic(name, 2, copies) for name in (SOURCE, SINK)]).values():
            if future.exception(DEADLINE_S) and protocol == "classic":
                raise Failed(str(future.exception()))
        home = at.folder / application
        home.mkdir()
        settings = {"bootstrap.servers": at.bootstrap, "application.id": application, "state.dir": home, "group.protocol": protocol}
        settings |= {"commit.interval.ms": 200, "replication.factor": copies, "statestore.cache.max.bytes": 0, "auto.offset.reset": "earliest"}
        (home / "app.properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        producer = Producer({"bootstrap.servers": at.bootstrap})
        for line in LINES:
            producer.produce(SOURCE, line, partition=0)
        if producer.flush(DEADLINE_S):
            raise Failed("the lines were not delivered")
        with (home / "app.log").open("w") as log:
            app = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", str(_jars() / "*"), MAIN, str(home / "app.properties")], stdout=log, stderr=log
            )
            try:
                yield from _counted(at, application)
            finally:
                app.terminate()
                app.wait(DEADLINE_S)
        made = sorted(name for name in admin.list_topics(timeout=DEADLINE_S).topics if name.startswith(application))
        yield f"its topics: {made}"

    return word_count


def _counted(at: At, group: str) -> Iterator[str]:
    """All that the application counts: every word, each time that its count rises. The protocol played second counts the lines of both."""
    expected = sum(len(line.split()) for line in LINES) * (1 if group.endswith("classic") else 3)
    found: list[str] = []
    consumer = Consumer({"bootstrap.servers": at.bootstrap, "group.id": f"reader-{group}", "auto.offset.reset": "earliest"})
    consumer.subscribe([SINK])
    try:
        while len(found) < expected:
            message = consumer.poll(DEADLINE_S)
            if message is None or message.error():
                raise Failed(f"{len(found)} of {expected} counts after {DEADLINE_S} s: {message and message.error()}")
            found.append(f"{message.key().decode()} {int.from_bytes(message.value())}")
    finally:
        consumer.close()
    yield from sorted(found)


def scenes() -> Iterator[tuple[str, Scene]]:
    for protocol in ("classic", "streams"):
        yield f"streams-{protocol}", _play(protocol)
