"""A control plane as a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.control.plane import ControlPlane


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """`control(*options)` starts one; all are killed after the test."""
    running: list[ControlPlane] = []

    def start(*options: str) -> ControlPlane:
        one = ControlPlane(tmp_path / f"control{len(running)}", *options)
        running.append(one)
        return one.start()

    yield start
    for one in running:
        one.kill()
