"""`python kafka_python_client.py SCENE BOOTSTRAP REPLICAS`: what kafka-python does in one scene, printed."""

from __future__ import annotations

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import IncompatibleBrokerVersion
from kafka.structs import OffsetAndMetadata

SECONDS = 30


def until(ask, is_there):
    """Asks until the answer is there: brokers learn of a change one after the other."""
    deadline = time.monotonic() + SECONDS
    while not is_there(answer := ask()):
        assert time.monotonic() < deadline, answer
    return answer


def admin(bootstrap: str) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=bootstrap)


def make(bootstrap: str, name: str, partitions: int, replicas: int) -> None:
    client = admin(bootstrap)
    client.create_topics([NewTopic(name, partitions, replicas)], wait_for_metadata=True)
    client.close()


def read(bootstrap: str, topic: str, count: int, **options: object) -> list[tuple[int, int, bytes, bytes]]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=SECONDS * 1000, **options)
    found = []
    for record in consumer:
        found.append((record.partition, record.offset, record.key, record.value))
        if len(found) == count:
            break
    if options.get("group_id"):
        consumer.commit()
    consumer.close()
    return sorted(found)


def group(bootstrap: str, replicas: int) -> None:
    make(bootstrap, "kp-group", 3, replicas)
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, enable_idempotence=True)
    for number in range(120):
        producer.send("kp-group", str(number).encode(), key=str(number % 7).encode())
    producer.flush(SECONDS)
    producer.close()
    for record in read(bootstrap, "kp-group", 120, group_id="kp-members"):
        print(record)
    client = admin(bootstrap)
    offsets = client.list_group_offsets({"kp-members": None})["kp-members"]
    print("offsets", sorted((place.partition, offset.offset) for place, offset in offsets.items()))
    described = client.describe_groups(["kp-members"])["kp-members"]
    print("group", described["group_state"], described["protocol_type"], len(described["members"]))
    client.close()


def transactions(bootstrap: str, replicas: int) -> None:
    make(bootstrap, "kp-ledger", 1, replicas)
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id="kp-till")
    producer.init_transactions()
    for number in range(4):
        producer.begin_transaction()
        producer.send("kp-ledger", str(number).encode())
        producer.flush(SECONDS)
        place = {TopicPartition("kp-group", 0): OffsetAndMetadata(number, "", -1)}
        producer.send_offsets_to_transaction(place, "kp-follower")
        (producer.abort_transaction if number == 2 else producer.commit_transaction)()
    producer.close()
    print([value for *_, value in read(bootstrap, "kp-ledger", 3, isolation_level="read_committed")])
    client = admin(bootstrap)
    found = until(lambda: client.describe_transactions(["kp-till"])["kp-till"], lambda found: "COMPLETE" in str(found.state))
    print("transaction", found.state, found.transaction_timeout_ms, sorted(map(str, found.topic_partitions)))
    listed = client.list_transactions()
    print("listed", sorted(one.transactional_id for listings in listed.values() for one in listings if one.transactional_id.startswith("kp-")))
    place = TopicPartition("kp-ledger", 0)
    print("producers", len(client.describe_producers([place])[place].active_producers))
    follower = client.list_group_offsets({"kp-follower": None})["kp-follower"]
    print("follower", sorted((place.topic, place.partition, offset.offset) for place, offset in follower.items()))
    client.close()


def administration(bootstrap: str, replicas: int) -> None:
    client = admin(bootstrap)
    cluster = client.describe_cluster()
    for broker in sorted(cluster["brokers"], key=lambda broker: broker["broker_id"]):
        print("broker", broker["broker_id"], f"{broker['host']}:{broker['port']}")
    print("cluster", cluster["cluster_id"])
    client.create_topics([NewTopic("kp-made", 3, replicas), NewTopic("kp-made-too", 1, replicas)], wait_for_metadata=True)
    page = client.describe_topic_partitions(["kp-made", "kp-made-too"], response_partition_limit=2)
    print("page", [(topic["name"], len(topic["partitions"])) for topic in page["topics"]], page["next_cursor"])
    topic = ConfigResource(ConfigResourceType.TOPIC, "kp-made", {"retention.ms": "77000"})
    print("altered", client.alter_configs([topic]))
    described = until(lambda: client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "kp-made")]), lambda told: told["topic"]["kp-made"])
    print("settings", sorted((name, entry["value"]) for name, entry in described["topic"]["kp-made"].items()))
    broker = client.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")], include_synonyms=True, config_filter="all")["broker"]["1"]
    print("listeners", broker["listeners"]["value"])
    try:
        quorum = client.describe_metadata_quorum()
        voters = quorum["topics"][0]["partitions"][0]["current_voters"]
        print("quorum", len(voters), [(node["node_id"], len(node["listeners"])) for node in quorum["nodes"]])
    except IncompatibleBrokerVersion:
        print("quorum not offered")
    print("dirs", sorted({directory["error_code"] for one in client.describe_log_dirs() for directory in one.get("log_dirs", [one])}))
    print("features", sorted((name, told.get("finalized")) for name, told in client.describe_features().items()))
    print("resources", sorted(client.list_config_resources().get("broker", [])))
    client.delete_topics(["kp-made", "kp-made-too"])
    print("topics", sorted(until(lambda: [name for name in client.list_topics() if name.startswith("kp-")], lambda names: "kp-made" not in names)))
    client.close()


if __name__ == "__main__":
    {"group": group, "transactions": transactions, "administration": administration}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
