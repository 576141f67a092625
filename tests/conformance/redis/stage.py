"""One server, and a cluster of three masters with a replica each behind a sidecar.

The suite is that of one server's client, which administers its server: so may the clients of the sidecar (`admin: everywhere`). Transactions
over several slots run by slot, which docs/redis.md says what it means; and the cluster has as many databases as one server has (Valkey 9).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.integration.process import Sidecar

from ..suite import HOST, Suite

# Tests use DEBUG SLEEP and the like; a server of their own may let them.
OPTIONS = ("--enable-debug-command", "yes")
DATABASES = ("--cluster-databases", "16")
OBJECTS = """
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: cache}}
spec: {{nodes: {nodes}, admin: everywhere, transactions: bySlot}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "{host}:{port}", protocol: redis, backend: cache}}
"""


class Stage:
    """Both are new for every run, so that no run sees what another has left: settings, scripts, statistics."""

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def version(self) -> str:
        with RedisServer("version") as server:
            info = server.client().info("server")
        return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"

    @contextmanager
    def side(self, name: str, suite: Suite[int], folder: Path) -> Iterator[int]:
        """The port of the server, or of the sidecar."""
        if name == "direct":
            with RedisServer("direct", options=OPTIONS) as server:
                yield server.port
            return
        with RedisCluster(options=(*OPTIONS, *DATABASES)) as cluster:
            port = ports.free()
            sidecar = Sidecar(OBJECTS.format(nodes=cluster.addresses, host=HOST, port=port), folder / "sidecar")
            sidecar.start()
            try:
                yield port
            finally:
                sidecar.stop()
                (folder / "sidecar.log").write_text(sidecar.log)
