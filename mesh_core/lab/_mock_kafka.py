"""A mock cluster of N brokers in this process: prints `READY HOST:PORT...` in the order of broker ids, then waits."""

import signal
import sys

from confluent_kafka import Producer

producer = Producer({"test.mock.num.brokers": int(sys.argv[1]), "bootstrap.servers": "mock"})
brokers = producer.list_topics(timeout=10).brokers
print("READY", *(f"{brokers[number].host}:{brokers[number].port}" for number in sorted(brokers)), flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
