"""Producers that keep a cluster busy while it is hurt, and know what has to be there afterwards."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

# A broker of three that starts again on a loaded machine of two cores: half a minute, twice.
DEADLINE_S = 120
IN_TRANSACTION = 5
# What a client says of connections, while it goes on by itself.
RECONNECTS = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT}


class Load(ABC):
    """Runs in threads of its own between `with` and its end; `written` is what was acknowledged, or committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap, self.topic = bootstrap, topic
        self.written: list[str] = []
        self.errors: list[str] = []
        self._over = threading.Event()
        self._enough = threading.Condition()
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the producer does not come to its end"

    def more(self, count: int) -> None:
        """Waits until that many more are written: the cluster serves."""
        with self._enough:
            wanted = len(self.written) + count
            assert self._enough.wait_for(lambda: len(self.written) >= wanted or self.errors, DEADLINE_S), "nothing is written any more"

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    @abstractmethod
    def _run(self) -> None: ...

    def _write(self, values: list[str]) -> None:
        with self._enough:
            self.written += values
            self._enough.notify_all()

    def _fail(self, error: str) -> None:
        with self._enough:
            self.errors.append(error)
            self._enough.notify_all()

    def _producer(self, **options: Any) -> Producer:
        def told(error: KafkaError) -> None:
            if error.code() not in RECONNECTS:
                self._fail(str(error))

        limits = {
            "linger.ms": 1,
            "message.timeout.ms": DEADLINE_S * 1000,
            "reconnect.backoff.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 2000,
        }
        return Producer({"bootstrap.servers": self.bootstrap, "error_cb": told, **limits, **options})


class Idempotent(Load):
    """One record after the other, with idempotence."""

    def _run(self) -> None:
        producer = self._producer(**{"enable.idempotence": True})
        number = 0

        def told(error: KafkaError | None, message: Any) -> None:
            if error:
                self._fail(str(error))
            else:
                self._write([message.value().decode()])

        while not self._over.is_set():
            producer.produce(self.topic, str(number), key=str(number), on_delivery=told)
            number += 1
            producer.poll(0.005)
        assert producer.flush(DEADLINE_S) == 0, "not all was delivered"


class Transactions(Load):
    """Transactions of a few records; each fifth is aborted on purpose, and one that has to be is told again as another."""

    def __init__(self, bootstrap: str, topic: str, transactional_id: str) -> None:
        super().__init__(bootstrap, topic)
        self.transactional_id = transactional_id
        self.aborted = 0

    def _run(self) -> None:
        producer = self._producer(**{"transactional.id": self.transactional_id, "transaction.timeout.ms": DEADLINE_S * 1000})
        self._insist(lambda: producer.init_transactions(DEADLINE_S))
        number = 0
        while not self._over.is_set():
            values = [f"{self.transactional_id} {number} {index}" for index in range(IN_TRANSACTION)]
            if self._transaction(producer, values, keep=number % 5 != 4):
                self._write(values)
            number += 1

    def _transaction(self, producer: Producer, values: list[str], *, keep: bool) -> bool:
        try:
            producer.begin_transaction()
            for value in values:
                producer.produce(self.topic, value, key=value)
            if keep:
                self._insist(lambda: producer.commit_transaction(DEADLINE_S))
                return True
            # librdkafka would end it before its partitions are registered, and take the coordinator's answer for fatal (its issue 4849).
            producer.flush(DEADLINE_S)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            self.aborted += 1
        self._insist(lambda: producer.abort_transaction(DEADLINE_S))
        return False

    def _insist(self, call: Any) -> None:
        """Repeats what may be repeated, as the client's documentation demands."""
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise


def stored(bootstrap: str, topic: str, partitions: int) -> list[str]:
    """All committed values of a topic, up to the ends that it has now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"of-{topic}", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    values, ended = [], set()
    try:
        while len(ended) < partitions:
            message = consumer.poll(DEADLINE_S)
            assert message is not None, f"{topic}: the ends are not reached"
            if message.error() is None:
                values.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    finally:
        consumer.close()
    return values
