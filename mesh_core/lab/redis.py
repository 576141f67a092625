"""One Redis (Valkey) server on loopback, alone or as a node of a cluster.

with RedisServer(password="secret") as server:
    server.client().ping()
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from . import account, ports, redis_binaries, wait
from .process import Process


class RedisServer:
    """`password` is `requirepass`; `binary` is another server program, e.g. Debian's; `options` are its words.

    Nothing is written to disk but the log (and a cluster node's nodes.conf): what a kill loses is lost.
    """

    def __init__(
        self,
        name: str = "redis",
        *,
        password: str | None = None,
        binary: Path | None = None,
        port: int | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.name, self.password = name, password
        self.port = port or ports.free()
        self.directory = account.scratch(name)
        argv = [str(binary or redis_binaries.find()), "--port", str(self.port), "--bind", ports.LOOPBACK,
                "--dir", str(self.directory), "--save", "", "--appendonly", "no", *options]  # fmt: skip
        if password is not None:
            argv += ["--requirepass", password, "--masterauth", password]
        self.process = Process(name, argv, self.directory)

    @property
    def address(self) -> str:
        return f"{ports.LOOPBACK}:{self.port}"

    def start(self) -> RedisServer:
        """Returns once it answered a PING after the login."""
        self.process.spawn()
        wait.until(f"login to {self.name}", self.client().ping, process=self.process)
        return self

    def stop(self) -> None:
        self.process.stop(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self, **options: Any) -> Any:
        """A synchronous redis-py client straight to this server; connects when it is first used."""
        import redis

        defaults = {"password": self.password, "decode_responses": True, "socket_timeout": 5.0}
        return redis.Redis(ports.LOOPBACK, self.port, **{**defaults, **options})

    def command(self, *words: str | int) -> Any:
        """One command, one connection; str replies."""
        with self.client() as client:
            return client.execute_command(*words)

    def log_contains(self, text: str) -> bool:
        return self.process.log_contains(text)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
