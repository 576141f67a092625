"""`midstream sidecar` as a process: its first line, exit codes, admin address, reload."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh_core.lab import ports
from tests.integration.process import Sidecar

Start = Callable[..., Sidecar]


class Echo(socketserver.BaseRequestHandler):
    """Says its server's name, then repeats what it hears."""

    def handle(self) -> None:
        self.request.sendall(self.server.greeting)  # type: ignore[attr-defined]
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[Callable[[bytes], int]]:
    """``echo(greeting)`` starts a server and gives its port."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(greeting: bytes) -> int:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
        server.daemon_threads = True
        server.greeting = greeting  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def objects(listen: int, backend: int, name: str = "pipe") -> str:
    return f"""
apiVersion: midstream/v1
kind: TcpService
metadata: {{name: {name}}}
spec: {{endpoint: "127.0.0.1:{backend}"}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "127.0.0.1:{listen}", protocol: tcp, backend: {name}}}
"""


def say(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return receive(connection, len(data))


def receive(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length and (piece := connection.recv(length - len(got))):
        got += piece
    return got


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_bytes_pass_and_the_admin_address_tells(sidecar: Start, echo: Callable[[bytes], int]) -> None:
    listen = ports.free()
    one = sidecar(objects(listen, echo(b"hello")))
    assert f"pipe 127.0.0.1:{listen}" in one.first_line
    with connect(listen) as connection:
        assert receive(connection, 5) == b"hello"
        assert say(connection, b"x" * 60_000) == b"x" * 60_000
        assert one.metric("midstream_connections", side="client") == 1
    assert one.get("/ready").status_code == 200
    config = one.get("/config").json()
    assert {resource["name"] for resource in config["resources"]} == {"pipe", "tcp/pipe"}
    assert config["refused"] == []
    (status,) = one.get("/v3/discovery:client_status").json()["config"]
    assert {(row["name"], row["clientStatus"]) for row in status["genericXdsConfigs"]} == {("pipe", "ACKED"), ("tcp/pipe", "ACKED")}
    assert all(len(row["versionInfo"]) == 16 and "xdsConfig" not in row for row in status["genericXdsConfigs"])


def test_a_reload_drops_no_connection_and_new_ones_follow_the_new_objects(sidecar: Start, echo: Callable[[bytes], int]) -> None:
    listen, second = ports.free(), ports.free()
    old, new = echo(b"old"), echo(b"new")
    one = sidecar(objects(listen, old))
    with connect(listen) as connection:
        assert receive(connection, 3) == b"old"
        before = one.get("/config").json()["since"]
        one.reload(objects(listen, new) + "---" + objects(second, new, "second"))
        wait_for(lambda: one.get("/config").json()["since"] > before)
        assert say(connection, b"still here") == b"still here"
        with connect(listen) as later, connect(second) as other:
            assert receive(later, 3) == b"new"
            assert receive(other, 3) == b"new"


def test_a_bad_reload_keeps_what_was_good(sidecar: Start, echo: Callable[[bytes], int]) -> None:
    listen = ports.free()
    one = sidecar(objects(listen, echo(b"old")))
    one.reload(objects(listen, 1).replace("endpoint", "endpiont"))
    wait_for(lambda: "endpiont" in one.log)
    with connect(listen) as connection:
        assert receive(connection, 3) == b"old"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("colour: red\n", "is not a known field"),
        (
            "---\napiVersion: midstream/v1\nkind: Listener\nmetadata: {name: b}\nspec: {address: '127.0.0.1:LISTEN', protocol: tcp, backend: pipe}\n",
            "LISTEN",
        ),
        (
            "---\napiVersion: midstream/v1\nkind: Listener\nmetadata: {name: b}\nspec: {address: '127.0.0.1:1', protocol: tcp, backend: nobody}\n",
            "nobody",
        ),
        ("---\n{", "is not YAML"),
    ],
)
def test_bad_objects_end_it_with_2_and_the_line(tmp_path: Path, broken: str, said: str) -> None:
    listen = str(ports.free())
    one = Sidecar(objects(int(listen), 1) + broken.replace("LISTEN", listen), tmp_path)
    one.start(ready=False)
    assert one.wait() == 2
    assert said.replace("LISTEN", listen) in one.log
    assert f"{one.config}:" in one.log


def test_an_address_in_use_ends_it_with_2_and_says_where(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = Sidecar(objects(port, 1), tmp_path)
        one.start(ready=False)
        assert one.wait() == 2
    assert f"127.0.0.1:{port} cannot be bound" in one.log
    assert f"{one.config}:10" in one.log


def test_what_is_in_force_is_shown_by_version(sidecar: Start, echo: Callable[[bytes], int]) -> None:
    one = sidecar(objects(ports.free(), echo(b"x")))
    assert all(len(resource["version"]) == 16 for resource in json.loads(one.get("/config").text)["resources"])


def wait_for(condition: Callable[[], bool], within_s: float = 10) -> None:
    """Polls: what is awaited happens in another process."""
    done = threading.Event()
    for _ in range(int(within_s / 0.02)):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("it did not happen in time")
