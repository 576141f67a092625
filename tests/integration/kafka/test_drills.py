"""Three brokers are stopped, killed and started again under load: nothing acknowledged is lost, nothing is there twice, clients only reconnect.

CI restarts one of them and kills another, which stays away. `MIDSTREAM_DRILL_ROUNDS=n`
has all three restarted n times, orderly and by kill -9 in turn.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka, ports
from tests.conftest import start
from tests.integration.kafka.conftest import BROKER_PORTS, objects
from tests.integration.kafka.load import Idempotent, Load, Transactions, stored
from tests.integration.process import Sidecar

ROUNDS = int(os.environ.get("MIDSTREAM_DRILL_ROUNDS", "0"))
PARTITIONS = 3
# Written between two blows, by each producer: so many that all partitions and their new leaders had some.
BETWEEN = 25


@pytest.fixture
def brokers() -> Iterator[Kafka]:
    # A controller that is gone is noticed in a second.
    cluster = start(lambda: Kafka(brokers=3, settings={"controller.quorum.fetch.timeout.ms": "1000"}).start())
    yield cluster
    cluster.kill()


def rounds() -> list[tuple[int, bool]]:
    """Which brokers are to be hurt and to return, and whether they are killed."""
    return [(index, (round_ + index) % 2 == 1) for round_ in range(ROUNDS) for index in range(3)]


def hurt(brokers: Kafka, loads: list[Load]) -> None:
    for index, is_killed in rounds() or [(0, False)]:
        for load in loads:
            load.more(BETWEEN)
        if is_killed:
            brokers.kill(index)
        else:
            brokers.stop_broker(index)
        for load in loads:
            load.more(BETWEEN)
        brokers.start_broker(index)
    for load in loads:
        load.more(BETWEEN)
    brokers.kill(1)
    for load in loads:
        load.more(BETWEEN)


@pytest.mark.timeout(300 + 300 * ROUNDS)
def test_brokers_restart_under_transactions(brokers: Kafka, sidecar: Callable[..., Sidecar]) -> None:
    for topic in ("ledger", "events"):
        brokers.create_topic(topic, PARTITIONS)
    port = ports.free_range(1 + BROKER_PORTS)[0]
    sidecar(objects(brokers.bootstrap(), port), workers=2)
    bootstrap = f"127.0.0.1:{port}"
    loads = [Idempotent(bootstrap, "events"), Transactions(bootstrap, "ledger", "till-1"), Transactions(bootstrap, "ledger", "till-2")]
    with loads[0], loads[1], loads[2]:
        hurt(brokers, loads)
    for topic in ("ledger", "events"):
        written = Counter(value for load in loads if load.topic == topic for value in load.written)
        found = Counter(stored(bootstrap, topic, PARTITIONS))
        assert not written - found, f"{topic}: lost"
        assert not found - written, f"{topic}: twice, or never acknowledged"
    assert [load.errors for load in loads] == [[], [], []]
    seen = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).brokers.values()
    assert {(broker.host, broker.port) for broker in seen} <= {("127.0.0.1", port + 1 + node) for node in range(BROKER_PORTS)}
