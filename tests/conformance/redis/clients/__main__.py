"""`python -m tests.conformance.redis.clients [CLIENT ...]`: what each client prints directly and through a sidecar; exits 1 where that differs."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ...fetch import CACHE
from ...suite import Suite
from ..stage import Stage

HERE = Path(__file__).parent
DEADLINE_S = 300
IOREDIS = "5.8.2"
GO_REDIS = "v9.17.2"
REDIS_PY = ("redis==7.4.1", "hiredis==3.5.0")


def _must(*command: str, folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.stdout


def _ioredis(folder: Path) -> list[str]:
    shutil.copy(HERE / "ioredis.mjs", folder)
    _must("npm", "install", "--silent", "--no-fund", "--no-audit", f"ioredis@{IOREDIS}", folder=folder)
    return ["node", "ioredis.mjs"]


def _go_redis(folder: Path) -> list[str]:
    shutil.copy(HERE / "goredis.go", folder)
    _must("go", "mod", "init", "clients", folder=folder)
    _must("go", "get", f"github.com/redis/go-redis/v9@{GO_REDIS}", folder=folder)
    _must("go", "build", "-o", "clients", folder=folder)
    return [str(folder / "clients")]


def _hiredis_py(folder: Path) -> list[str]:
    _must(sys.executable, "-m", "venv", "venv", folder=folder)
    _must("venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", *REDIS_PY, folder=folder)
    return [str(folder / "venv/bin/python"), str(HERE / "hiredis_py.py")]


def _java(folder: Path) -> list[str]:
    """Jedis and lettuce, as the versions in pom.xml are."""
    for file in (HERE / "java").iterdir():
        shutil.copy(file, folder)
    _must("mvn", "--batch-mode", "--quiet", "dependency:build-classpath", "-Dmdep.outputFile=classpath", folder=folder)
    return ["java", "-cp", (folder / "classpath").read_text().strip(), "Clients.java"]


CLIENTS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "ioredis": ("npm", _ioredis),
    "go-redis": ("go", _go_redis),
    "hiredis-py": (sys.executable, _hiredis_py),
    "jedis-and-lettuce": ("mvn", _java),
}


def _same(name: str, folder: Path) -> bool:
    tool, prepare = CLIENTS[name]
    if shutil.which(tool) is None:
        print(f"{name}: not run, {tool} is not installed")
        return True
    command = prepare(folder)
    seen: dict[str, list[str]] = {}
    for side in ("direct", "mesh"):
        with Stage().side(side, _NO_SUITE, folder / side) as port:
            seen[side] = _must(*command, str(port), folder=folder).splitlines()
    differences = list(difflib.unified_diff(seen["direct"], seen["mesh"], "direct", "mesh", lineterm="", n=0))
    print(f"{name}: {len(seen['direct'])} lines, {'differs' if differences else 'the same'}", *differences, sep="\n")
    return not differences


# A stage takes the suite it is set for; none of its fields matters to this one.
_NO_SUITE: Suite[int] = None  # type: ignore[assignment]


def main(names: Iterable[str]) -> int:
    CACHE.mkdir(parents=True, exist_ok=True)
    good = True
    for name in names or CLIENTS:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            good &= _same(name, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
