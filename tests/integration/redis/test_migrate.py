"""A migration under load by ordinary clients of two sidecars: nothing is lost on the way there, on the way back, and there again."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mesh_core.lab import LabError, RedisCluster, RedisServer, ports, until
from tests.conftest import start
from tests.integration.control.plane import ControlPlane
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect
from tests.integration.redis.load import Load
from tests.integration.redis.migration_load import held, loops, preload

OBJECTS = """
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: old}}
spec: {{nodes: {old}, retryDeadline: 60s}}
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: new}}
spec: {{nodes: ["{new}"], mode: single, retryDeadline: 60s}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: one}}
spec: {{address: "127.0.0.1:{one}", protocol: redis, backend: old}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: two}}
spec: {{address: "127.0.0.1:{two}", protocol: redis, backend: old}}
"""


KEYS = 1000
# A slow machine is no reason to go back; clients wait for longer.
PATIENT = ("--fence-seconds", "30")


class Scene:
    """A control plane, two sidecars with a listener each, an old cluster and a new server."""

    def __init__(self, folder: Path, old: RedisCluster, new: RedisServer) -> None:
        self.folder, self.old, self.new = folder, old, new
        self.ports = [ports.free(), ports.free()]
        self.plane = ControlPlane(folder / "control").start()
        done = self.plane.apply(OBJECTS.format(old=old.addresses, new=new.address, one=self.ports[0], two=self.ports[1]))
        assert done.returncode == 0, done.stderr
        self.sidecars: list[Sidecar] = []
        self._in_turn = itertools.cycle(self.ports)
        # Every sidecar is given both listeners. What the first one cannot bind is the second one's, and the other way round.
        with socket.create_server(("127.0.0.1", self.ports[1])):
            self._add("shop-1")
        self._add("shop-2")

    def _add(self, node: str) -> None:
        self.sidecars.append(Sidecar("", self.folder / node, control=self.plane.grpc, node=node, workers=2))
        self.sidecars[-1].start()

    def connect(self, **options: object) -> redis.Redis:
        """A client of one sidecar, the next one of the other."""
        return connect(next(self._in_turn), **options)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "mesh_core", "migrate", *words]
        env = {**os.environ, "MIDSTREAM_CONTROL": self.plane.rest, "MIDSTREAM_STATE": str(self.folder / "state")}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def migrate(self, *words: str, code: int = 0) -> str:
        process = self.begin(*words)
        output, _ = process.communicate(timeout=90)
        assert process.returncode == code, f"{words}: {output}"
        return output

    def masters(self) -> list[redis.Redis]:
        return [self.old.master(shard).client(decode_responses=False) for shard in range(3)]

    def stop(self) -> None:
        for one in self.sidecars:
            one.kill()
        self.plane.kill()


@pytest.fixture
def scene(tmp_path: Path, redis_cluster: RedisCluster) -> Iterator[Scene]:
    new = start(lambda: RedisServer("new").start())
    redis_cluster.client().flushall()
    found = Scene(tmp_path, redis_cluster, new)
    yield found
    found.stop()
    new.kill()


@pytest.mark.timeout(300)
def test_there_and_back_and_there_again_under_load(scene: Scene) -> None:
    preload(scene.connect(), KEYS)
    both = loops(scene.connect, lambda: connect(scene.ports[1]))
    for loop in both:
        loop.pause_s = 0.02
    with Load(lambda: connect(scene.ports[0]), both) as load:
        load.goes_on(10)
        scene.migrate("start", "m", "--from", "old", "--to", "new")
        killed = scene.begin("backfill", "m", "--rate", "300")
        until("keys have been copied, and where it is is kept", lambda: walked(scene))
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        assert "have not been compared" in scene.migrate("cut-over", "m", code=1)
        assert "goes on where it was stopped" in scene.migrate("backfill", "m")
        scene.migrate("compare", "m", "--repair")
        scene.migrate("cut-over", "m", *PATIENT)
        load.goes_on(10)
        scene.migrate("roll-back", "m", *PATIENT)
        load.goes_on(10)
        scene.migrate("cut-over", "m", *PATIENT)
        load.goes_on(10)
    assert load.errors == []
    assert load.wrong() == []
    until("nothing is left to copy", lambda: drained(scene))
    there, back = held([scene.new.client(decode_responses=False)]), held(scene.masters())
    assert {key: (there.get(key), back.get(key)) for key in there.keys() | back.keys() if there.get(key) != back.get(key)} == {}
    assert len(there) > KEYS
    scene.migrate("finish", "m")
    assert load.wrong() == []


def walked(scene: Scene) -> None:
    """Raises until a backfill has kept where it is."""
    files = list((scene.folder / "state").glob("migrate-m.json"))
    if not files or not json.loads(files[0].read_text())["walk"]:
        raise LabError("nothing kept yet")


def drained(scene: Scene) -> None:
    left = [one.metric(f"midstream_redis_migration_{what}", migration="m") for one in scene.sidecars for what in ("dirty", "unsure")]
    if any(left):
        raise LabError(f"still to copy: {left}")
