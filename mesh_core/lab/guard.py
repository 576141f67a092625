"""Nothing the lab started outlives the lab.

Two nets: `atexit` kills what is still running on an orderly end (exceptions included), and a small guard process
(`_guard.py`) does it when this process is killed. `watch`/`forget` and `watch_directory` are the whole interface.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

_lock = threading.Lock()
_guard: subprocess.Popen[str] | None = None
_owner = 0
_children: set[int] = set()
_directories: list[Path] = []


def watch(pid: int) -> None:
    """`pid` leads its own session; its whole process group is killed at the latest when this process ends."""
    with _lock:
        _tell(f"+{pid}")
        _children.add(pid)


def forget(pid: int) -> None:
    """`pid` has been reaped; its number may belong to somebody else from now on."""
    with _lock:
        _children.discard(pid)
        _tell(f"-{pid}")


def watch_directory(path: Path) -> None:
    """Removed, with all it holds, when this process ends."""
    with _lock:
        _tell(f"d{path}")
        _directories.append(path)


def _tell(line: str) -> None:
    guard = _start()
    assert guard.stdin is not None
    try:
        guard.stdin.write(line + "\n")
        guard.stdin.flush()
    except BrokenPipeError:
        pass  # somebody killed the guard; atexit remains


def _start() -> subprocess.Popen[str]:
    global _guard, _owner
    if _guard is None or _owner != os.getpid():  # a forked child guards what it starts itself
        _children.clear()
        _directories.clear()
        _owner = os.getpid()
        script = str(Path(__file__).with_name("_guard.py"))
        _guard = subprocess.Popen([sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, text=True, start_new_session=True)
        atexit.register(_at_exit, _owner)
    return _guard


def _at_exit(owner: int) -> None:
    if owner != os.getpid():
        return
    for pid in _children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for directory in _directories:
        shutil.rmtree(directory, ignore_errors=True)
    if _guard is not None and _guard.stdin is not None:
        _guard.stdin.close()
