"""Who runs the servers: this user, or `nobody` when this user is root (PostgreSQL refuses to run as uid 0)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from . import guard

NOBODY = 65534


def is_root() -> bool:
    return os.geteuid() == 0


def popen_options() -> dict[str, Any]:
    """Arguments for `subprocess.Popen` that drop root's rights; none for an ordinary user."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if is_root() else {}


def scratch(name: str) -> Path:
    """A new temporary directory that the servers' user owns and can reach; removed when this process ends."""
    path = Path(tempfile.mkdtemp(prefix=f"midstream-{name}-"))
    guard.watch_directory(path)
    own(path)
    return path


def own(path: Path) -> None:
    """Gives one file or directory to the servers' user."""
    if is_root():
        os.chown(path, NOBODY, NOBODY)


def can_execute(binary: Path) -> bool:
    """Whether the servers' user reaches and runs `binary`: tried, because rights of every parent directory count."""
    try:
        subprocess.run([binary, "--version"], check=True, capture_output=True, timeout=30, **popen_options())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def copy_for_servers(trees: list[Path]) -> Path:
    """Copies `trees` side by side into a directory that everyone can read (a venv below a 0700 home is not)."""
    target = Path(tempfile.mkdtemp(prefix="midstream-bin-"))
    guard.watch_directory(target)
    target.chmod(0o755)
    for tree in trees:
        shutil.copytree(tree, target / tree.name, symlinks=True)
    return target
