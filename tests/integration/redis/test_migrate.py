"""A migration under load by ordinary clients of two sidecars: nothing is lost on the way there, on the way back, and there again."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
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
metadata: {{name: many}}
spec: {{nodes: {many}, retryDeadline: 60s}}
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {{name: one}}
spec: {{nodes: ["{one}"], mode: single, retryDeadline: 60s}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: first}}
spec: {{address: "127.0.0.1:{ports[0]}", protocol: redis, backend: {backend}}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: second}}
spec: {{address: "127.0.0.1:{ports[1]}", protocol: redis, backend: {backend}}}
"""

KEYS = 1000
# A slow machine is no reason to go back; clients wait for longer.
PATIENT = ("--fence-seconds", "30")


class Scene:
    """A control plane, two sidecars with a listener each, a cluster and a server."""

    def __init__(self, folder: Path, many: RedisCluster, one: RedisServer) -> None:
        self.folder, self.many, self.one = folder, many, one
        self.ports = [ports.free(), ports.free()]
        self.plane = ControlPlane(folder / "control").start()
        self.sidecars: list[Sidecar] = []

    def serve(self, backend: str) -> None:
        """Both listeners before that back end."""
        done = self.plane.apply(OBJECTS.format(many=self.many.addresses, one=self.one.address, ports=self.ports, backend=backend))
        assert done.returncode == 0, done.stderr
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
        return [self.many.master(shard).client(decode_responses=False) for shard in range(3)]

    def stop(self) -> None:
        for one in self.sidecars:
            one.kill()
        self.plane.kill()


@pytest.fixture
def scene(tmp_path: Path, redis_cluster: RedisCluster) -> Iterator[Scene]:
    one = start(lambda: RedisServer("one").start())
    redis_cluster.client().flushall()
    found = Scene(tmp_path, redis_cluster, one)
    yield found
    found.stop()
    one.kill()


@pytest.mark.timeout(300)
def test_there_and_back_and_there_again_under_load(scene: Scene) -> None:
    scene.serve("many")
    preload(scene.connect(), KEYS)
    both = loops(scene.connect, lambda: connect(scene.ports[1]))
    for loop in both:
        loop.pause_s = 0.05
    with Load(lambda: connect(scene.ports[0]), both) as load:
        load.goes_on(10)
        scene.migrate("start", "m", "--from", "many", "--to", "one")
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
    there, back = held([scene.one.client(decode_responses=False)]), held(scene.masters())
    assert {key: (there.get(key), back.get(key)) for key in there.keys() | back.keys() if there.get(key) != back.get(key)} == {}
    assert len(there) > KEYS
    scene.migrate("finish", "m")
    assert load.wrong() == []


def test_some_keys_go_and_a_sidecar_that_was_killed_shuts_the_gate(scene: Scene) -> None:
    scene.serve("one")
    client, direct = connect(scene.ports[0]), scene.many.client()
    client.mset({f"{prefix}:{number}": number for number in range(50) for prefix in ("goes", "stays")})
    client.set("goes:by:hand", "before")
    scene.migrate("start", "m", "--from", "one", "--to", "many", "--prefix", "goes:")
    scene.migrate("backfill", "m")
    scene.one.client().set("goes:by:hand", "behind the sidecars' backs")
    assert "goes:by:hand has another value" in scene.migrate("compare", "m", code=1)
    assert "1 copied" in scene.migrate("compare", "m", "--repair")
    scene.sidecars[1].kill()
    until("the control plane has noticed", lambda: gone(scene))
    without = ("--without", "shop-2")
    assert "came or went" in scene.migrate("cut-over", "m", *without, code=1)
    scene.migrate("compare", "m", *without)
    popper = threading.Thread(target=lambda: popped.append(connect(scene.ports[0]).blpop(["goes:list"], 60)))
    popped: list[object] = []
    popper.start()
    with connect(scene.ports[0]).pipeline() as transaction:
        transaction.watch("goes:1")
        transaction.multi()
        transaction.set("goes:1", "lost")
        scene.migrate("cut-over", "m", *without, *PATIENT)
        with pytest.raises(redis.WatchError):
            transaction.execute()
    client.rpush("goes:list", "came")
    popper.join()
    assert popped == [("goes:list", "came")]
    client.mset({"goes:1": "new", "stays:1": "new"})
    assert (direct.get("goes:1"), direct.get("stays:1"), scene.one.client().get("stays:1")) == ("new", None, "new")
    assert len(client.keys("*")) == 101  # type: ignore[arg-type]
    scene.migrate("roll-back", "m", *without, *PATIENT)
    assert (client.get("goes:1"), scene.one.client().get("goes:1")) == ("new", "new")
    client.set("goes:1", "back")
    scene.migrate("roll-back", "m", *without)
    assert scene.one.client().get("goes:1") == "back"


def gone(scene: Scene) -> None:
    nodes = {one["node"]: one["connected"] for one in scene.plane.get("/v1/status").json()["sidecars"]}
    if nodes["shop-2"]:
        raise LabError(f"connected: {nodes}")


def walked(scene: Scene) -> None:
    """Raises until a backfill has kept where it is."""
    files = list((scene.folder / "state").glob("migrate-m.json"))
    if not files or not json.loads(files[0].read_text())["walk"]:
        raise LabError("nothing kept yet")


def drained(scene: Scene) -> None:
    left = [one.metric(f"midstream_redis_migration_{what}", migration="m") for one in scene.sidecars for what in ("dirty", "unsure")]
    if any(left):
        raise LabError(f"still to copy: {left}")
