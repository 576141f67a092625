"""Starts and stops `midstream sidecar` with readable verbs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import httpx

from mesh_core.lab import ports

READY_WITHIN_S = 120  # of a machine on which everything else is busy
STOPS_WITHIN_S = 20


class Sidecar:
    """One process.

    :param objects: YAML documents; empty when ``control`` is given.
    :param folder: for its files; made.
    :param control: HOST:PORT of a control plane to follow instead, with ``node``.
    :param env: variables on top of this process's.
    :param options: more of the command line.
    """

    def __init__(
        self,
        objects: str,
        folder: Path,
        *,
        control: str = "",
        node: str = "test",
        workers: int = 1,
        env: dict[str, str] | None = None,
        options: Iterable[object] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "objects.yaml"
        self.config.write_text(objects)
        self.admin = f"127.0.0.1:{ports.free()}"
        source = ["--control", control, "--node", node] if control else ["--config", str(self.config)]
        self.command = [sys.executable, "-m", "mesh_core", "sidecar", *source]
        self.command += ["--workers", str(workers), "--admin", self.admin, "--state", str(folder / "state"), "--drain-seconds", "2"]
        self.command += map(str, options)
        self.env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[str] | None = None
        self.first_line = ""
        self.lines: list[str] = []

    def start(self, *, ready: bool = True) -> None:
        """Starts it; waits for its ready line unless told not to."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        seen = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(seen,), daemon=True)
        self._reader.start()
        if ready and not seen.wait(READY_WITHIN_S):
            self.kill()
            raise AssertionError("the sidecar did not get ready:\n" + self.log)
        if ready and not self.first_line:
            raise AssertionError("the sidecar ended:\n" + self.log)

    def stop(self) -> int:
        """SIGTERM; returns the exit code, which must be 0 when it was still running."""
        process = self.process
        if process is None or process.poll() is not None:
            return process.returncode if process else 0
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the sidecar did not drain:\n" + self.log) from None
        assert code == 0, f"exit code {code}:\n{self.log}"
        return code

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait(self) -> int:
        """Until it ends by itself; the exit code."""
        assert self.process is not None
        code = self.process.wait(READY_WITHIN_S)
        self._reader.join(READY_WITHIN_S)
        return code

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """All it printed."""
        return "".join(self.lines)

    def log_has(self, text: str) -> None:
        """Until a line with this text was printed."""
        deadline = time.monotonic() + READY_WITHIN_S
        while text not in self.log:
            assert time.monotonic() < deadline, f"not in the log: {text}\n{self.log}"
            time.sleep(0.05)

    def get(self, path: str) -> httpx.Response:
        """A page of the admin address."""
        return httpx.get(f"http://{self.admin}{path}", timeout=5)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{label}"' in series for key, label in labels.items()):
                total += float(value)
        return total

    def reload(self, objects: str) -> None:
        """Other objects and SIGHUP."""
        assert self.process is not None
        self.config.write_text(objects)
        self.process.send_signal(signal.SIGHUP)

    def _read(self, seen: threading.Event) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("midstream sidecar ready"):
                self.first_line = line
                seen.set()
        seen.set()
