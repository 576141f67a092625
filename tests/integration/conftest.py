"""A real sidecar as a process of its own, configured by objects, for every family's integration tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.process import Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    """``sidecar(objects_yaml)`` starts one and waits until it is ready; all are stopped after the test.

    Keyword arguments as :class:`Sidecar`. Every stop checks that the process drained and exited 0.
    """
    running: list[Sidecar] = []

    def start(objects: str = "", **options: object) -> Sidecar:
        one = Sidecar(objects, tmp_path / f"sidecar{len(running)}", **options)  # type: ignore[arg-type]
        running.append(one)
        one.start()
        return one

    yield start
    for one in running:
        one.stop()
