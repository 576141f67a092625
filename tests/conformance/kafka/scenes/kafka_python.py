"""kafka-python, in a virtual environment of its own: its package has the name of a module that others use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ...fetch import CACHE
from ..scene import DEADLINE_S, At, Failed, Scene

VERSION = "3.0.12"
SCRIPT = Path(__file__).with_name("kafka_python_client.py")


def _python() -> Path:
    """The interpreter of the environment, which is made once."""
    home = CACHE / f"kafka-python-{VERSION}"
    python = home / "bin/python"
    if not (home / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"kafka-python=={VERSION}"], check=True)
        (home / "made").touch()
    return python


def _play(name: str) -> Scene:
    def play(at: At) -> Iterator[str]:
        command = [str(_python()), str(SCRIPT), name, at.bootstrap, str(at.replicas)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False)
        (at.folder / f"kafka-python-{name}.log").write_text(ran.stderr)
        yield from ran.stdout.splitlines()
        if ran.returncode:
            raise Failed(ran.stderr[-2000:])

    return play


def scenes() -> Iterator[tuple[str, Scene]]:
    for name in ("group", "transactions", "administration"):
        yield f"kafka-python-{name}", _play(name)
