"""The same messages to the server itself and to the mesh: the same answers, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh_core.lab import Postgres, ports
from tests.conftest import start
from tests.integration.process import Sidecar

from .conftest import ENVIRONMENT, objects
from .frontend import Frontend, Step
from .scenes import SCENES

Heard = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    running = start(lambda: Postgres("same", database="shop", users={"app": "app-password"}, auth="trust").start())
    yield running
    running.kill()


@pytest.fixture(scope="module")
def through(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One sidecar for all scenes: what one leaves behind must not be heard in the next."""
    port = ports.free()
    sidecar = Sidecar(objects([server], port), tmp_path_factory.mktemp("sidecar"), env=ENVIRONMENT)
    sidecar.start()
    yield port
    sidecar.stop()


@pytest.mark.parametrize("scene", SCENES)
def test_it_sounds_the_same(server: Postgres, through: int, scene: str) -> None:
    direct = play(server.port, SCENES[scene])
    assert play(through, SCENES[scene]) == direct


def play(port: int, steps: list[Step]) -> Heard:
    frontend = Frontend(port, user="app", database="shop")
    try:
        return compared(frontend.play(steps))
    finally:
        frontend.close()


def compared(heard: Heard) -> Heard:
    """What has to be the same in what was heard."""
    return [(tag, COMPARED.get(tag, bytes)(body)) for tag, body in heard]


def _error(body: bytes) -> bytes:
    """Without the place in the server's source: a sentence of ours has none."""
    return b"\0".join(field for field in body.split(b"\0") if field[:1] not in (b"F", b"L", b"R"))


def _columns(body: bytes) -> bytes:
    """Without the tables' OIDs: each play makes its own tables."""
    seen, at = body[:2], 2
    while at < len(body):
        end = body.index(b"\0", at) + 1
        seen += body[at:end] + body[end + 4 : end + 18]
        at = end + 18
    return seen


def _notification(body: bytes) -> bytes:
    """Without the process id: each play has its own."""
    return body[4:]


COMPARED = {"E": _error, "N": _error, "T": _columns, "A": _notification}
