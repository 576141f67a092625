"""A master with replicas and the sentinels that look after them.

with RedisSentinels() as group:
    old = group.kill_master()
    group.wait_failover(old)
"""

from __future__ import annotations

from . import ports, redis_binaries, wait
from .errors import LabError
from .process import Process
from .redis import RedisServer

DOWN_AFTER_MS = 1000  # a master that is silent for so long is replaced, 1 to 2 s later
FAILOVER_TIMEOUT_MS = 6000


class Sentinel(RedisServer):
    """One sentinel of the master `name`, which is at `port_of_master` when it starts for the first time."""

    def __init__(self, name: str, master: str, port_of_master: int, quorum: int) -> None:
        super().__init__(name)
        conf = self.directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"bind {ports.LOOPBACK}",
            f"dir {self.directory}",
            f"sentinel monitor {master} {ports.LOOPBACK} {port_of_master} {quorum}",
            f"sentinel down-after-milliseconds {master} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {master} {FAILOVER_TIMEOUT_MS}",
        ]
        conf.write_text("\n".join(lines) + "\n")
        self.process = Process(name, [str(redis_binaries.find()), str(conf), "--sentinel"], self.directory)


class RedisSentinels:
    """`servers` are the master and its replicas, the master first when they start; `name` is how the sentinels know the master."""

    def __init__(self, replicas: int = 2, sentinels: int = 3, *, name: str = "main") -> None:
        self.name = name
        first = RedisServer(f"{name}-0")
        following = ("--replicaof", f"{ports.LOOPBACK} {first.port}", "--repl-diskless-sync-delay", "0")
        self.servers = [first, *(RedisServer(f"{name}-{number + 1}", options=following) for number in range(replicas))]
        self.sentinels = [Sentinel(f"{name}-sentinel-{number}", name, first.port, sentinels // 2 + 1) for number in range(sentinels)]

    @property
    def addresses(self) -> list[str]:
        return [sentinel.address for sentinel in self.sentinels]

    def start(self) -> RedisSentinels:
        """Returns when the replicas follow and every sentinel knows all servers and the other sentinels."""
        wait.start_all(*self.servers)
        wait.start_all(*self.sentinels)
        wait.until(f"all of {self.name} know each other", self._all_met)
        return self

    def kill(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            server.kill()

    def master(self) -> RedisServer:
        """The living server that says it is the master. LabError while there is none."""
        for server in self.servers:
            if server.process.alive and server.command("ROLE")[0] == "master":
                return server
        raise LabError(f"{self.name} has no master now")

    def kill_master(self) -> RedisServer:
        """kill -9; returns it, to be started again. Does not wait for the election."""
        server = self.master()
        server.kill()
        return server

    def wait_failover(self, old: RedisServer) -> RedisServer:
        """Waits until every living sentinel names another master than `old`, and that is one; returns it."""

        def promoted() -> RedisServer:
            told = {self._told(sentinel) for sentinel in self.sentinels if sentinel.process.alive}
            server = next((server for server in self.servers if told == {server.port}), None)
            if server is None or server is old or server.command("ROLE")[0] != "master":
                raise LabError(f"the sentinels name {told}")
            return server

        return wait.until(f"failover of {self.name}", promoted)

    def failover(self) -> RedisServer:
        """An orderly SENTINEL FAILOVER; returns the new master."""
        old = self.master()
        wait.until("a replica to promote", lambda: self.sentinels[0].command("SENTINEL", "FAILOVER", self.name))
        return self.wait_failover(old)

    def __enter__(self) -> RedisSentinels:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _told(self, sentinel: RedisServer) -> int:
        return int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def _all_met(self) -> None:
        for server in self.servers[1:]:
            if server.command("ROLE")[3] != "connected":
                raise LabError(f"{server.name} does not follow yet")
        for sentinel in self.sentinels:
            replicas = sentinel.command("SENTINEL", "REPLICAS", self.name)
            others = sentinel.command("SENTINEL", "SENTINELS", self.name)
            if len(replicas) != len(self.servers) - 1 or len(others) != len(self.sentinels) - 1:
                raise LabError(f"{sentinel.name} knows {len(replicas)} replicas and {len(others)} sentinels")
