"""One suite on both sides."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from . import fetch, junit
from .compare import Accepted, Verdict, compare
from .stage import Stage
from .suite import Command, Suite

Say = Callable[[str], None]


def both(stage: Stage, suite: Suite, accepted: Sequence[Accepted], out: Path, say: Say) -> Verdict:
    """Runs it directly, then through the mesh. What the runs print stays in `out`. fetch.Unavailable when it cannot be had."""
    tests, binaries = fetch.source(suite), fetch.environment(suite)
    results = {name: _one(stage, suite, name, tests, binaries, out / suite.name / name, say) for name in ("direct", "mesh")}
    return compare(suite.name, results["direct"], results["mesh"], accepted)


def _one(stage: Stage, suite: Suite, name: str, tests: Path, binaries: Path, folder: Path, say: Say) -> junit.Results:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with stage.side(name, suite, folder) as side:
        command = suite.command(tests, folder.resolve(), side)
        _run(command, binaries, folder / "output.txt", suite.deadline_s)
    results = junit.read(command.report)
    say(f"{suite.name} {name}: {results.count(junit.Outcome.PASSED)} of {len(results)} passed")
    return results


def _run(command: Command, binaries: Path, log: Path, deadline_s: float) -> None:
    """To its end or its deadline; its exit code says nothing that the report does not."""
    env = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1", **command.env}
    argv = [str(binaries / command.argv[0]), *command.argv[1:]]
    with log.open("w") as output:
        # A session of its own: a suite that starts processes takes them along when it is ended.
        process = subprocess.Popen(argv, cwd=command.folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            output.write(f"\nended after {deadline_s} s\n")
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
