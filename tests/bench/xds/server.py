"""The control plane that is measured: a process of its own, filled through its REST API."""

import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import httpx

from mesh_core.control.access import new_token
from mesh_core.lab import ports
from mesh_core.lab.certs import Authority
from tests.bench.measure import cpu_s

READY_WITHIN_S = 120
# Of the resources a fifth are listeners; the rest are clusters and their endpoints.
_LISTENERS = 5


class Server:
    """`midstream control` over a SQLite file. With `tls` sidecars show a certificate; `client_tls` is theirs."""

    def __init__(self, *, tls: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="midstream-bench-")
        self.client_tls: ssl.SSLContext | None = None
        headers: dict[str, str] = {}
        options: list[str] = []
        if tls:
            secret, digest = new_token()
            headers["authorization"] = f"Bearer {secret}"
            options = self._guarded(Path(self._folder.name), digest)
        grpc, rest = ports.free(), ports.free()
        self.address = ("127.0.0.1", grpc)
        store = str(Path(self._folder.name) / "control.db")
        command = [sys.executable, "-m", "mesh_core", "control", "--grpc", f"127.0.0.1:{grpc}", "--rest", f"127.0.0.1:{rest}", "--store", store]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        if not ready.wait(READY_WITHIN_S) or self.process.poll() is not None:
            raise RuntimeError("the control plane did not get ready:\n" + "".join(self.lines[-20:]))
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{rest}", timeout=60, headers=headers)

    def _guarded(self, folder: Path, digest: str) -> list[str]:
        """One certificate for all: as many handshakes, and fewer files."""
        authority = Authority(folder)
        server, sidecars = authority.issue("control"), authority.issue("bench")
        context = self.client_tls = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(sidecars.certificate, sidecars.key)
        context.set_alpn_protocols(["h2"])
        access = folder / "access.yaml"
        access.write_text(
            f"people: [{{name: bench, tokenSha256: {digest}, roles: [editor]}}]\n"
            'sidecars: [{name: bench, certificate: bench, nodes: ["bench-*"]}]\n'
        )
        files = {"--grpc-cert": server.certificate, "--grpc-key": server.key, "--grpc-client-ca": authority.certificate, "--access": access}
        return [text for option, file in files.items() for text in (option, str(file))]

    def apply(self, documents: Iterable[str]) -> int:
        """The revision."""
        body = {"sources": [{"file": "bench.yaml", "text": "---\n".join(documents)}]}
        answer = self._client.post("/v1/apply", json=body)
        answer.raise_for_status()
        return answer.json()["revision"]

    def version(self) -> str:
        """Of the whole set, as it is announced to sidecars."""
        return self._client.get("/v1/status", params={"node": "nobody"}).json()["version"]

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def memory_kib(self, what: str = "VmRSS") -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise ValueError(what)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def _read(self, ready: threading.Event) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("control plane ready"):
                ready.set()
        ready.set()


def service(number: int, port: int) -> str:
    """A cluster and its endpoints; the port is what changes."""
    return f"""apiVersion: midstream/v1
kind: TcpService
metadata: {{name: service-{number}}}
spec: {{endpoint: "10.0.{number // 250}.{number % 250}:{port}"}}
"""


def objects(resources: int) -> list[str]:
    """That many resources."""
    listeners = resources // _LISTENERS
    services = (resources - listeners) // 2
    return [service(number, 5432) for number in range(services)] + [_listener(number) for number in range(resources - 2 * services)]


def services(resources: int) -> int:
    return (resources - resources // _LISTENERS) // 2


def _listener(number: int) -> str:
    return f"""apiVersion: midstream/v1
kind: Listener
metadata: {{name: listener-{number}}}
spec: {{address: "127.0.0.1:{20000 + number}", protocol: tcp, backend: service-{number}}}
"""
