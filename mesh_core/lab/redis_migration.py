"""A slot on its way from one master to another, step by step, so that a test can look at a cluster that answers ASK.

    migration = cluster.migrate_slot(5, to=2)
    migration.begin()          # source MIGRATING, target IMPORTING: missing keys answer ASK, several keys TRYAGAIN
    migration.move_keys(1)     # one key has moved
    migration.finish()         # the rest, then everyone is told: MOVED

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ ("Live reconfiguration").
"""

from __future__ import annotations

from . import ports
from .redis import RedisServer

MIGRATE_TIMEOUT_MS = 5000
BATCH = 100


class SlotMigration:
    """`masters` are told of the new owner at the end, source and target among them."""

    def __init__(self, slot: int, source: RedisServer, target: RedisServer, masters: list[RedisServer]) -> None:
        self.slot, self.source, self.target = slot, source, target
        self._masters = masters

    def begin(self) -> None:
        self.target.command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.command("CLUSTER", "MYID"))
        self.source.command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.command("CLUSTER", "MYID"))

    def move_keys(self, count: int | None = None) -> int:
        """Moves up to `count` keys (all without it); returns how many it moved."""
        moved = 0
        while count is None or moved < count:
            batch = BATCH if count is None else min(BATCH, count - moved)
            keys = self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, batch)
            if not keys:
                break
            self._migrate(keys)
            moved += len(keys)
        return moved

    def finish(self) -> None:
        """Moves what is left and gives the slot to the target, the target first (it must own it before others ask)."""
        self.move_keys()
        owner = self.target.command("CLUSTER", "MYID")
        others = [server for server in self._masters if server not in (self.target, self.source)]
        for server in [self.target, self.source, *others]:
            server.command("CLUSTER", "SETSLOT", self.slot, "NODE", owner)

    def cancel(self) -> None:
        """Ends a migration of which no key has moved yet."""
        for server in (self.source, self.target):
            server.command("CLUSTER", "SETSLOT", self.slot, "STABLE")

    def _migrate(self, keys: list[str]) -> None:
        password = [] if self.source.password is None else ["AUTH", self.source.password]
        self.source.command("MIGRATE", ports.LOOPBACK, self.target.port, "", 0, MIGRATE_TIMEOUT_MS, *password, "KEYS", *keys)
