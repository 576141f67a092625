"""Starts, kills and asks a `midstream control` process."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from mesh_core.lab import ports

READY_WITHIN_S = 60
STOPS_WITHIN_S = 10


class ControlPlane:
    """One process over a store in `folder`; it comes back on the same addresses."""

    def __init__(self, folder: Path, *options: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.grpc = f"127.0.0.1:{ports.free()}"
        self.rest = f"127.0.0.1:{ports.free()}"
        source = options or ("--store", str(folder / "control.db"))
        self.command = [sys.executable, "-m", "mesh_core", "control", "--grpc", self.grpc, "--rest", self.rest, *source]
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []

    def start(self) -> "ControlPlane":
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        assert ready.wait(READY_WITHIN_S), f"the control plane did not get ready:\n{self.log}"
        assert "control plane ready" in self.log, self.log
        return self

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPS_WITHIN_S)

    def run(self, *arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`midstream ARGUMENTS` against this control plane."""
        command = [sys.executable, "-m", "mesh_core", *arguments]
        env = {**os.environ, "MIDSTREAM_CONTROL": self.rest, **(environment or {})}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=60, check=False)

    def apply(self, objects: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`midstream apply` of objects in a file named shop.yaml."""
        file = self.folder / "shop.yaml"
        file.write_text(objects)
        return self.run("apply", "-f", str(file), *arguments)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.rest}{path}", timeout=10)

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(f"http://{self.rest}{path}", json=body, timeout=10)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def log_has(self, text: str, within_s: float) -> None:
        """Until a line with this text was printed."""
        deadline = time.monotonic() + within_s
        while text not in self.log:
            assert time.monotonic() < deadline, f"not in the log: {text}\n{self.log}"
            time.sleep(0.05)

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if line.startswith("control plane ready"):
                ready.set()
        ready.set()
