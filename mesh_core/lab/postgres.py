"""A PostgreSQL server on loopback.

    with Postgres("s0", database="shop") as server:
        rows = server.sql("select 1 as one")

Durability is off (fsync): these servers live for one run. Logical decoding and prepared transactions are on.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import account, ports, postgres_binaries, wait
from .errors import LabError
from .process import Process

if TYPE_CHECKING:
    from .certs import Authority

AUTHS = ("scram-sha-256", "md5", "trust")
PASSWORD = "lab-password"
SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_prepared_transactions": "32",
    "max_connections": "200",
    "fsync": "off",
    "shared_buffers": "16MB",
}


class Postgres:
    """`auth` is one of AUTHS; `tls` takes a server with OpenSSL and a certificate of `self.authority`; `distribution` takes the
    distribution's server, which has all contrib modules.

    `database` and `users` (name to password; each may create objects in `database`) are made at the first start.
    The superuser is `postgres` with `password`. Data survive stop and kill, not the end of this process.
    """

    def __init__(
        self,
        name: str = "postgres",
        *,
        database: str = "postgres",
        users: dict[str, str] | None = None,
        auth: str = "scram-sha-256",
        tls: bool = False,
        distribution: bool = False,
        password: str = PASSWORD,
        port: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        if auth not in AUTHS:
            raise ValueError(f"auth is one of {', '.join(AUTHS)}, not {auth!r}")
        self.name, self.database, self.auth, self.tls, self.password = name, database, auth, tls, password
        self.users, self.distribution = users or {}, distribution
        self.port = port or ports.free()
        self.directory = account.scratch(name)
        self.authority: Authority | None = None  # from the first start on, with `tls`
        self._settings = {**SETTINGS, "port": str(self.port), **(settings or {})}
        self._process: Process | None = None

    @property
    def address(self) -> str:
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def process(self) -> Process:
        if self._process is None:
            self._process = self._prepare()
        return self._process

    def start(self) -> Postgres:
        """Spawns it and returns once the superuser has logged in. LabError with the log's tail when that fails."""
        first = self._process is None
        self.process.spawn()
        wait.until(f"login to {self.name}", lambda: self.sql("select 1", database="postgres"), process=self.process)
        if first:
            self._create_contents()
        return self

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, data are written."""
        self.process.stop(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the server and all its backends: what a crash looks like to clients."""
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def params(self, *, user: str = "postgres", database: str | None = None) -> dict[str, Any]:
        """Keyword arguments for `asyncpg.connect`."""
        return {
            "host": ports.LOOPBACK,
            "port": self.port,
            "user": user,
            "password": self.users.get(user, self.password),
            "database": database or self.database,
            "ssl": "require" if self.tls else False,
        }

    def dsn(self, *, user: str = "postgres", database: str | None = None) -> str:
        words = self.params(user=user, database=database)
        mode = "require" if self.tls else "disable"
        return f"postgresql://{user}:{words['password']}@{self.address}/{words['database']}?sslmode={mode}"

    async def connect(self, **changes: Any) -> Any:
        """An asyncpg connection straight to the server; `changes` as for `params`."""
        import asyncpg  # type: ignore[import-untyped]

        return await asyncpg.connect(**self.params(**changes), timeout=wait.START_DEADLINE_S)

    async def fetch(self, statement: str, *arguments: Any, **changes: Any) -> list[Any]:
        """Rows of one statement on a connection of its own."""
        connection = await self.connect(**changes)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    def sql(self, statement: str, *arguments: Any, **changes: Any) -> list[Any]:
        """`fetch` for synchronous callers."""
        return wait.blocking(self.fetch(statement, *arguments, **changes))

    def log_contains(self, text: str) -> bool:
        return self.process.log_contains(text)

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _prepare(self) -> Process:
        binaries = postgres_binaries.find(distribution=self.distribution or self.tls)
        data = self.directory / "data"
        self._make_data(binaries, data)
        if self.tls:
            self.authority = _authority(self.directory)
            pair = self.authority.issue("localhost")
            self._settings |= {
                "ssl": "on",
                "ssl_cert_file": str(pair.certificate),
                "ssl_key_file": str(pair.key),
                "ssl_ca_file": str(self.authority.certificate),
            }
        argv = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in self._settings.items():
            argv += ["-c", f"{name}={value}"]
        return Process(self.name, argv, self.directory, as_servers_user=True)

    def _make_data(self, binaries: Path, data: Path) -> None:
        postgres_binaries.new_data_directory(binaries, self.auth, self.password, data)

    def _create_contents(self) -> None:
        if self.database != "postgres":
            self.sql(f'create database "{self.database}"', database="postgres")
        for user, password in self.users.items():
            quoted = password.replace("'", "''")
            self.sql(f"create role \"{user}\" login password '{quoted}'", database="postgres")
            self.sql(f'grant all on schema public to "{user}"')


class Standby(Postgres):
    """A streaming standby of a running server, made by pg_basebackup at its first start; `promote` makes it a primary.

    Its name is its `application_name`, for the primary's `synchronous_standby_names`.
    """

    def __init__(self, primary: Postgres, name: str = "standby", *, settings: dict[str, str] | None = None) -> None:
        super().__init__(name, database=primary.database, users=primary.users, auth=primary.auth, password=primary.password, settings=settings)
        self.primary = primary

    def promote(self) -> None:
        """Returns when it takes writes."""
        assert self.sql("select pg_promote(true, 60) as done", database="postgres")[0]["done"]

    def _make_data(self, binaries: Path, data: Path) -> None:
        words = f"host={ports.LOOPBACK} port={self.primary.port} user=postgres password={self.password} application_name={self.name}"
        argv = [str(binaries / "pg_basebackup"), "-D", str(data), "-d", words, "-R", "-c", "fast", "-X", "stream", "--no-sync"]
        done = subprocess.run(argv, cwd=self.directory, capture_output=True, text=True, timeout=wait.START_DEADLINE_S, **account.popen_options())
        if done.returncode != 0:
            raise LabError(f"pg_basebackup ended with {done.returncode}:\n{done.stderr}")

    def _create_contents(self) -> None:
        return  # the primary's


def _authority(directory: Path) -> Authority:
    from .certs import Authority  # wants `cryptography`, which only TLS needs

    return Authority(directory)


def cluster(count: int, **options: Any) -> list[Postgres]:
    """`count` servers named s0, s1, ..., started side by side: the shards of one database."""
    servers = [Postgres(f"s{index}", **options) for index in range(count)]
    wait.start_all(*servers)
    return servers
