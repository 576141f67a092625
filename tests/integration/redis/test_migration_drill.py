"""Slots move under load: no error, no lost write, checked key by key. `MIDSTREAM_DRILL_SLOTS` moves that many; 1,000 take a minute."""

import os
from collections.abc import Callable

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from mesh_core.lab.redis_migration import SlotMigration
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects
from tests.integration.redis.load import Load, of_every_kind

SLOTS = int(os.environ.get("MIDSTREAM_DRILL_SLOTS", "60"))
SHARDS = 3
ALL_SLOTS = redis.cluster.REDIS_CLUSTER_HASH_SLOTS
HOT = 6  # the load's own slots: each is seen whole, in two halves, and moved


def slots() -> list[int]:
    """Those of the load's own keys first."""
    keys = ["count:a", "count:b", "batch", "pair", "watched", "queue", *map(str, range(1000))]
    first = [redis.crc.key_slot(key.encode()) for key in keys]
    return list(dict.fromkeys([*first, *range(ALL_SLOTS)]))[:SLOTS]


@pytest.mark.timeout(120 + SLOTS)
def test_slots_move_under_load_without_error_or_loss(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    masters = [own_cluster.master(shard) for shard in range(SHARDS)]
    with Load(lambda: connect(port), of_every_kind(lambda: connect(port))) as load:
        load.goes_on()
        for place, slot in enumerate(slots()):
            home = next(shard for shard in range(SHARDS) if slot < (shard + 1) * ALL_SLOTS // SHARDS)
            migration = SlotMigration(slot, masters[home], masters[(home + 1) % SHARDS], masters)
            migration.begin()
            if place < HOT:
                load.goes_on(10)
                migration.move_keys(1)
                load.goes_on(10, slots_are_whole=False)
            migration.finish()
        load.goes_on()
    assert load.errors == []
    assert load.wrong() == []
