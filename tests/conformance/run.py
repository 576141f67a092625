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
from .suite import Command, Side, Stage, Suite

Say = Callable[[str], None]
AGAIN = 50  # tests that are given a second chance; more of them have another reason than chance


def both(stage: Stage[Suite[Side], Side], suite: Suite[Side], accepted: Sequence[Accepted], out: Path, say: Say) -> Verdict:
    """Runs it directly, then through the mesh. What the runs print stays in `out`. fetch.Unavailable when it cannot be had.

    Some tests measure time, and fail now and then on a busy machine, on either side: a difference is one that shows twice.
    """
    tests, binaries = fetch.source(suite), fetch.environment(suite)

    def one(side: str, name: str, only: Sequence[str] = ()) -> junit.Results:
        results = _one(stage, suite, side, tests, binaries, out / suite.name / name, only)
        say(f"{suite.name} {name}: {results.count(junit.Outcome.PASSED)} of {len(results)} passed")
        return results

    direct, mesh = one("direct", "direct"), one("mesh", "mesh")
    verdict = compare(suite.name, direct, mesh, accepted)
    if 0 < len(verdict.unexplained) <= AGAIN:
        again = one("mesh", "mesh-again", verdict.unexplained)
        mesh.update({test: again[test] for test in verdict.unexplained if again.get(test) is junit.Outcome.PASSED})
        verdict = compare(suite.name, direct, mesh, accepted)
    return verdict


def _one(
    stage: Stage[Suite[Side], Side], suite: Suite[Side], side: str, tests: Path, binaries: Path, folder: Path, only: Sequence[str]
) -> junit.Results:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with stage.side(side, suite, folder) as reached:
        command = suite.command(tests, folder.resolve(), reached, only)
        _run(command, binaries, folder / "output.txt", suite.deadline_s)
    return junit.read(command.report)


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
