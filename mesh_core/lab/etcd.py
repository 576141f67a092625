"""A real etcd of one member, the Debian package."""

from __future__ import annotations

from collections.abc import Sequence

from . import account, ports, wait
from .errors import LabError, Missing
from .process import Process
from .tools import find


class Etcd:
    """Data survive stop and kill, not the end of this process. Missing (etcd-server) when it is not installed."""

    def __init__(self, name: str = "etcd", *, options: Sequence[str] = ()) -> None:
        self.name, self.port = name, ports.free()
        peer = ports.free()
        directory = account.scratch(name)
        program = find("etcd")
        if program is None:
            raise Missing("etcd-server", "etcd is not installed (Debian package)")
        argv = [
            str(program), "--name", name, "--data-dir", str(directory / "data"), "--log-level", "warn",
            "--listen-client-urls", f"http://{self.address}", "--advertise-client-urls", f"http://{self.address}",
            "--listen-peer-urls", f"http://{ports.LOOPBACK}:{peer}", "--initial-advertise-peer-urls", f"http://{ports.LOOPBACK}:{peer}",
            "--initial-cluster", f"{name}=http://{ports.LOOPBACK}:{peer}", *options,
        ]  # fmt: skip
        self.process = Process(name, argv, directory)

    @property
    def address(self) -> str:
        return f"{ports.LOOPBACK}:{self.port}"

    def start(self) -> Etcd:
        """Spawns it and returns once it takes writes. LabError with the log's tail when that fails."""
        self.process.spawn()
        wait.until(f"the health of {self.name}", self._is_healthy, process=self.process)
        return self

    def kill(self) -> None:
        self.process.kill()

    def _is_healthy(self) -> None:
        import httpx

        try:
            answer = httpx.get(f"http://{self.address}/health", timeout=2)
        except httpx.HTTPError as error:
            raise LabError(str(error)) from error
        if answer.json().get("health") != "true":
            raise LabError(answer.text)
