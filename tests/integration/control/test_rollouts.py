"""A change is tried on some real sidecars before all have it."""

import socket
from contextlib import closing

import pytest

from mesh_core.lab.wait import until_true
from tests.integration.control.objects import SET, address, relay
from tests.integration.control.test_sidecar import accepts

NODES = ("shop-1", "shop-2", "blog-1")
# A rule, as the sidecars share this machine's addresses.
LIMIT = """\
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: new}
spec: {listeners: [base], limit: {requests: 20, per: 1s}}
"""


@pytest.fixture
def plane(control):
    return control()


@pytest.fixture
def followers(plane, sidecar):
    plane.apply(relay("base", "127.0.0.1:0"))
    found = {node: sidecar(control=plane.grpc, node=node) for node in NODES}
    until_true("all are there", lambda: len(plane.get("/v1/status").json()["sidecars"]) == len(NODES))
    return found


def holders(plane, name: str) -> set[str]:
    """The sidecars where an object of that name is in force."""
    status = plane.get("/v1/status").json()["sidecars"]
    return {one["node"] for one in status for found in one["objects"] if (found["name"], found["state"]) == (name, "ACKED")}


def start(plane, text: str, *steps: str, hold: float = 3600) -> dict:
    body = {"sources": [{"file": "shop.yaml", "text": text}], "steps": list(steps), "holdSeconds": hold, "author": "ada", "reason": "new"}
    answer = plane.post("/v1/rollout", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def phase(plane) -> str:
    return plane.get("/v1/rollout").json()["phase"]


def test_step_by_step_to_all(plane, followers):
    start(plane, LIMIT, "shop-1", "shop-*")
    until_true("the first has it", lambda: holders(plane, "new") == {"shop-1"})
    assert plane.get("/v1/objects").json()["revision"] == 1, "nothing is stored yet"
    assert plane.run("rollout").stdout == "trying: step 1 of 2, shop-1, 1 sidecars (shop-1)\n"
    refused = plane.apply(SET)
    assert "a rollout of ada is under way" in refused.stderr
    plane.post("/v1/rollout/promote", {})
    until_true("all have it", lambda: holders(plane, "new") == set(NODES))
    assert phase(plane) == "done"
    assert plane.get("/v1/objects").json()["revision"] == 2
    latest = plane.get("/v1/history").json()["changes"][0]
    assert (latest["author"], latest["reason"]) == ("ada", "new")


def test_what_a_sidecar_refuses_is_taken_back_by_itself(plane, followers):
    """The address is taken on this machine: the first to try it says so, and nobody else ever hears of it."""
    taken = address()
    host, port = taken.split(":")
    with closing(socket.create_server((host, int(port)))):
        (plane.folder / "new.yaml").write_text(relay("new", taken))
        tried = plane.run("apply", "-f", str(plane.folder / "new.yaml"), "--canary", "34%", "--hold", "3600")
    assert tried.returncode == 3
    assert "taken back: " in tried.stdout
    assert f"{plane.folder}/new.yaml:9: Listener new: spec.address: " in tried.stdout
    assert plane.get("/v1/objects").json()["revision"] == 1
    until_true("nobody has it", lambda: holders(plane, "base") == set(NODES))
    assert holders(plane, "new") == set()
    assert plane.apply(LIMIT, "--wait", "15").returncode == 0
    assert holders(plane, "new") == set(NODES)


def test_an_aborted_rollout_leaves_nothing(plane, followers):
    listen = address()
    start(plane, relay("new", listen), "blog-*")
    until_true("it listens", lambda: holders(plane, "new") == {"blog-1"} and accepts(listen))
    assert plane.run("rollout", "pause").stdout.startswith("paused: step 1 of 1")
    assert plane.run("rollout", "abort").returncode == 0
    until_true("it no longer listens", lambda: not accepts(listen))
    assert plane.get("/v1/rollout").json()["reason"] == "aborted by hand"
    assert plane.run("rollout", "resume").returncode == 1, "it is over"


def test_a_control_plane_that_dies_takes_its_rollout_with_it(plane, followers):
    start(plane, LIMIT, "100%")
    until_true("all have it", lambda: holders(plane, "new") == set(NODES))
    plane.kill()
    plane.start()
    until_true("all are back", lambda: holders(plane, "base") == set(NODES))
    until_true("nobody has it", lambda: holders(plane, "new") == set())
    assert plane.get("/v1/rollout").status_code == 404


def test_parts_that_are_none_are_refused(plane):
    plane.apply(SET)
    for step in ("0%", "101%", "x%"):
        body = {"sources": [{"text": SET}], "steps": [step]}
        assert "write 1% to 100%" in plane.post("/v1/rollout", body).json()["error"]
