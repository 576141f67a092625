"""A suite's source and its virtual environment, kept in ~/.cache/midstream/conformance between runs."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from .suite import Git, Sdist, Suite

CACHE = Path.home() / ".cache" / "midstream" / "conformance"
DEADLINE_S = 900  # a slow link, a project that is compiled


class Unavailable(Exception):
    """The source or a requirement cannot be had from here."""


def source(suite: Suite[Any]) -> Path:
    """The unpacked source of the suite's version."""
    wanted = suite.source
    folder = CACHE / f"{wanted.project}-{wanted.version}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(wanted, Git):
        _must("git", "clone", "--quiet", "--depth", "1", "--branch", wanted.version, wanted.url, str(partial))
    else:
        _unpack(_sdist(wanted), partial)
    return partial.rename(folder)


def environment(suite: Suite[Any]) -> Path:
    """`bin` of the project's virtual environment; another set of requirements is another environment."""
    key = hashlib.sha256("\n".join([sys.version, *sorted(suite.requirements)]).encode()).hexdigest()[:12]
    folder = CACHE / f"venv-{suite.source.project}-{key}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _must(sys.executable, "-m", "venv", str(folder))
        _must(str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *suite.requirements)
        (folder / "ready").touch()
    return folder / "bin"


def _sdist(wanted: Sdist) -> Path:
    into = CACHE / "sdists" / f"{wanted.project}-{wanted.version}"
    if not into.exists() or not any(into.iterdir()):
        # pip asks the sdist's build system for its metadata, so that is installed for a moment: only the sdist itself must be source.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _must(*pip, "--no-binary", wanted.project, "--dest", str(into), f"{wanted.project}=={wanted.version}")
    return next(into.iterdir())


def _unpack(archive: Path, folder: Path) -> None:
    """An sdist holds one folder; `folder` becomes that one."""
    outer = folder.with_name(folder.name + ".outer")
    shutil.rmtree(outer, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(outer, filter="data")
    next(outer.iterdir()).rename(folder)
    outer.rmdir()


def _must(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]}: {error}") from None
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(argv[:4])} ...: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
