"""Ordinary work of Kafka's clients, done directly and through a sidecar: what they print has to be the same, and no broker's address may reach them.

    python -m tests.conformance.kafka [SCENE ...] [--brokers 1,3] [--modes plain]

Every scene (`scenes/`) prints what it did in a normal form. A mode (`modes.py`) is how the sidecar stands before the cluster: each plays all scenes.
"""
