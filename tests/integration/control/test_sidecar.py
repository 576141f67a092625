"""Real sidecars on a real control plane: pushed, refused, mended, and on their own."""

import socket
import time
from contextlib import closing

import pytest

from tests.integration.control.objects import address, relay

WITHIN_S = 15


def accepts(listen: str) -> bool:
    host, port = listen.split(":")
    with closing(socket.socket()) as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture
def plane(control):
    return control()


@pytest.fixture
def follower(plane, sidecar):
    """`follower(**options)` starts a sidecar that follows the control plane."""

    def start(**options):
        return sidecar(control=plane.grpc, **options)

    return start


def test_a_pushed_listener_is_in_force_within_a_second(plane, follower):
    plane.apply(relay("first", address()))
    follower(node="shop-1")
    listen = address()
    begun = time.monotonic()
    applied = plane.apply(relay("second", listen), "--wait", str(WITHIN_S))
    assert applied.returncode == 0, applied.stderr
    assert accepts(listen)
    shown = plane.run("status").stdout
    assert "Listener second" in shown
    assert "NACKED" not in shown
    # The command itself takes most of it: starting Python, reading YAML.
    assert time.monotonic() - begun < WITHIN_S


def test_an_address_in_use_is_refused_there_with_its_line_while_the_others_hold(plane, follower):
    good, taken = address(), address()
    host, port = taken.split(":")
    with closing(socket.create_server((host, int(port)))):
        plane.apply(relay("good", good))
        follower(node="shop-1")
        applied = plane.apply(relay("bad", taken), "--wait", str(WITHIN_S))
        assert applied.returncode == 3
        assert f"{plane.folder}/shop.yaml:9: Listener bad: spec.address: NACKED on shop-1" in applied.stderr
        status = plane.run("status", "--check")
        assert status.returncode == 3
        assert "NACKED" in status.stdout
        assert accepts(good)
    # The address is free again: the sidecar tries again by itself, and says so.
    mended = plane.run("status", "--check", "--wait", str(WITHIN_S))
    deadline = time.monotonic() + WITHIN_S
    while mended.returncode != 0 and time.monotonic() < deadline:
        mended = plane.run("status", "--check", "--wait", "1")
    assert mended.returncode == 0, mended.stdout


def test_a_missing_secret_is_refused_there_with_its_line(plane, follower):
    plane.apply(relay("good", address()))
    follower(node="shop-1")
    cluster = """\
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {name: cache}
spec:
  nodes: ["127.0.0.1:7001"]
  credentials: {user: app, passwordFrom: {env: NO_SUCH_VARIABLE}}
"""
    listener = f"""\
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: cache}}
spec: {{address: "{address()}", protocol: redis, backend: cache}}
"""
    applied = plane.apply(relay("good", address()) + cluster + listener, "--wait", str(WITHIN_S))
    assert applied.returncode == 3
    assert "shop.yaml:16: RedisCluster cache: spec.credentials.passwordFrom: NACKED on shop-1: " in applied.stderr
    assert "NO_SUCH_VARIABLE is not set on this sidecar" in applied.stderr


def test_without_a_control_plane_the_sidecar_goes_on_and_starts_from_the_last_good_set(plane, follower):
    listen = address()
    plane.apply(relay("shop", listen))
    sidecar = follower(node="shop-1")
    assert accepts(listen)
    plane.kill()
    assert accepts(listen)
    sidecar.stop()
    assert not accepts(listen)
    sidecar.start()
    assert "last good" in sidecar.first_line
    assert accepts(listen)


def test_a_control_plane_that_comes_back_changes_what_changed(plane, follower):
    first, second = address(), address()
    plane.apply(relay("shop", first))
    follower(node="shop-1")
    plane.kill()
    plane.start()
    applied = plane.apply(relay("shop", second))
    assert applied.returncode == 0, applied.stderr
    deadline = time.monotonic() + WITHIN_S
    while not accepts(second) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert accepts(second)
    assert not accepts(first)


def test_a_control_plane_stops_in_order_while_sidecars_are_connected(plane, follower):
    plane.apply(relay("shop", address()))
    follower(node="shop-1")
    assert plane.stop() == 0
    assert "Traceback" not in plane.log


def test_a_changed_file_of_a_followed_folder_reaches_the_sidecar_and_a_mistake_does_not(control, sidecar, tmp_path):
    first, second = address(), address()
    file = tmp_path / "objects" / "shop.yaml"
    file.parent.mkdir()
    file.write_text(relay("shop", first))
    plane = control("--config", str(file.parent))
    sidecar(control=plane.grpc, node="shop-1")
    assert accepts(first)
    file.write_text("kind: [")
    plane.log_has("is not YAML", WITHIN_S)
    assert accepts(first)
    file.write_text(relay("shop", second))
    deadline = time.monotonic() + WITHIN_S
    while not accepts(second) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert accepts(second)
