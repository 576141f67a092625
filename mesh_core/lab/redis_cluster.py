"""A Redis Cluster on loopback: masters, each with replicas, and what can happen to it.

Nodes are numbered masters first: with 3 + 3, node i + 3 starts as the replica of node i. A *shard* i is node i with
its replicas, whichever of them is the master now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import ports, redis_nodes, wait
from .errors import LabError
from .redis import RedisServer
from .redis_migration import SlotMigration
from .redis_nodes import SLOTS, Node

NODE_TIMEOUT_MS = 2000  # a dead master is replaced after this and an election, 2 to 4 s in all


class RedisCluster:
    """`password` is requirepass of every node; `binary` another server program than Valkey's."""

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 1,
        *,
        password: str | None = None,
        binary: Path | None = None,
        options: tuple[str, ...] = (),
        name: str = "cache",
    ) -> None:
        self.masters, self.replicas, self.name = masters, replicas, name
        count = masters * (1 + replicas)
        held = ports.free_range(2 * count)
        self.servers = [
            RedisServer(
                f"{name}-{index}",
                password=password,
                binary=binary,
                port=held[index],
                options=(*_cluster_options(bus_port=held[count + index]), *options),
            )
            for index in range(count)
        ]

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def start(self) -> RedisCluster:
        """Starts the nodes, joins them, and returns when every node sees all slots served and replicas in step."""
        wait.start_all(*self.servers)
        self._assign_slots()
        self._meet()
        self._attach_replicas()
        self.wait_ok()
        return self

    def stop(self) -> None:
        wait.stop_all(*self.servers)

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def nodes(self) -> list[Node]:
        """The cluster as the first living node sees it."""
        return redis_nodes.parse(self._living()[0].command("CLUSTER", "NODES"))

    def shard(self, index: int) -> list[RedisServer]:
        return self.servers[index :: self.masters]

    def master(self, index: int) -> RedisServer:
        """The server that is master of shard `index` now. LabError while there is none."""
        for server in self.shard(index):
            if server.process.alive and server.command("ROLE")[0] == "master" and self._owns_slots(server):
                return server
        raise LabError(f"shard {index} of {self.name} has no master now")

    def replica(self, index: int) -> RedisServer:
        """A living replica of shard `index`, in step with its master. LabError while there is none."""
        for server in self.shard(index):
            if server.process.alive:
                role = server.command("ROLE")
                if role[0] == "slave" and role[3] == "connected":
                    return server
        raise LabError(f"shard {index} of {self.name} has no connected replica now")

    def kill_master(self, index: int) -> RedisServer:
        """kill -9 of the master of shard `index`; returns it, to be started again. Does not wait for the election."""
        server = self.master(index)
        server.kill()
        return server

    def wait_failover(self, index: int, old: RedisServer) -> RedisServer:
        """Waits for another master of shard `index` than `old`; returns it."""

        def promoted() -> RedisServer:
            server = self.master(index)
            if server is old:
                raise LabError(f"{old.name} is still the master")
            return server

        return wait.until(f"failover of shard {index}", promoted)

    def failover(self, index: int) -> RedisServer:
        """An orderly CLUSTER FAILOVER of shard `index`; returns the new master."""
        old = self.master(index)
        replica = wait.until(f"a replica of shard {index}", lambda: self.replica(index))
        replica.command("CLUSTER", "FAILOVER")
        return self.wait_failover(index, old)

    def migrate_slot(self, slot: int, to: int) -> SlotMigration:
        """A migration of `slot` to the master of shard `to`, to be taken step by step (see SlotMigration)."""
        source = next(server for server in self._masters() if self._owns_slots(server, slot))
        return SlotMigration(slot, source, self.master(to), self._masters())

    def wait_ok(self) -> None:
        """Every living node says cluster_state:ok for all slots, and every living replica is in step."""
        wait.until_true(f"{self.name}: all slots served, replicas in step", self._all_ok)

    def wait_told(self) -> None:
        """Every living node tells clients of all others (CLUSTER SLOTS). Of a replica it does once that has replicated something: all is flushed."""
        self.client().flushall()
        living = self._living()
        wait.until_true(f"{self.name}: all nodes are told", lambda: all(_tells_of(server, living) for server in living))

    def client(self, **options: Any) -> Any:
        """redis-py's own cluster client: the oracle beside the mesh."""
        import redis.cluster

        server = self._living()[0]
        defaults = {"password": server.password, "decode_responses": True}
        return redis.cluster.RedisCluster(host=ports.LOOPBACK, port=server.port, **{**defaults, **options})

    def log_contains(self, text: str) -> bool:
        return any(server.log_contains(text) for server in self.servers)

    def __enter__(self) -> RedisCluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _living(self) -> list[RedisServer]:
        living = [server for server in self.servers if server.process.alive]
        if not living:
            raise LabError(f"{self.name}: no node is running")
        return living

    def _masters(self) -> list[RedisServer]:
        return [server for server in self._living() if server.command("ROLE")[0] == "master"]

    def _owns_slots(self, server: RedisServer, slot: int | None = None) -> bool:
        myself = next(node for node in redis_nodes.parse(server.command("CLUSTER", "NODES")) if "myself" in node.flags)
        return bool(myself.slots) if slot is None else myself.owns(slot)

    def _assign_slots(self) -> None:
        for index, server in enumerate(self.servers):
            # before MEET: nodes that meet with equal epochs need gossip rounds to settle them
            server.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < self.masters:
                first, last = SLOTS * index // self.masters, SLOTS * (index + 1) // self.masters - 1
                server.command("CLUSTER", "ADDSLOTSRANGE", first, last)

    def _meet(self) -> None:
        first = self.servers[0]
        for server in self.servers[1:]:
            bus = server.process.argv[server.process.argv.index("--cluster-port") + 1]
            first.command("CLUSTER", "MEET", ports.LOOPBACK, server.port, bus)
        wait.until_true(f"{self.name}: all nodes know each other", self._all_met)

    def _all_met(self) -> bool:
        views = [redis_nodes.parse(server.command("CLUSTER", "NODES")) for server in self.servers]
        return all(len(view) == len(self.servers) and not any(node.failed for node in view) for view in views)

    def _attach_replicas(self) -> None:
        for index, server in enumerate(self.servers[self.masters :]):
            master = self.servers[index % self.masters].command("CLUSTER", "MYID")
            wait.until(f"{server.name} follows", lambda: server.command("CLUSTER", "REPLICATE", master))  # noqa: B023

    def _all_ok(self) -> bool:
        return all(_node_ok(server) for server in self._living())


def _node_ok(server: RedisServer) -> bool:
    info = server.command("CLUSTER", "INFO")
    fields = info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.split())
    if fields["cluster_state"] != "ok" or int(fields["cluster_slots_ok"]) != SLOTS:
        return False
    role = server.command("ROLE")
    return role[0] == "master" or role[3] == "connected"


def _tells_of(server: RedisServer, others: list[RedisServer]) -> bool:
    told = {node[1] for shard in server.command("CLUSTER", "SLOTS") for node in shard[2:]}
    return all(other.port in told for other in others)


def _cluster_options(bus_port: int) -> tuple[str, ...]:
    return ("--cluster-enabled", "yes", "--cluster-port", str(bus_port), "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
            "--cluster-announce-ip", ports.LOOPBACK, "--repl-diskless-sync-delay", "0")  # fmt: skip
