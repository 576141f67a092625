"""The nodes of a RedisCluster, asked directly: which has which slot, and commands for keys, each to its node."""

import asyncio
import os
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, ConnectionError, MovedError, RedisError, ResponseError, TimeoutError

from cache_mesh.redis import RedisClusterSpec
from mesh_core.model.secrets import SecretRef, SecretSpec
from mesh_core.model.values import HostPort, parse_host_port

TIMEOUT_S = 20.0
# A command for a key follows a failover or a slot on its way for as long as this.
PATIENCE_S = 30.0
LOOK_AGAIN_S = 0.1

# A key, and a command for it.
Command = tuple[bytes, tuple[Any, ...]]
Place = tuple[str, int]


class Failed(Exception):
    """A cluster cannot be used; the text says which, and why."""


class Secrets:
    """Reads where objects say that a value is; it must be readable on this machine."""

    def __init__(self, objects: dict[str, SecretSpec]) -> None:
        self._objects = objects

    def read(self, ref: SecretRef | None, field: str = "from_") -> str:
        if ref is None:
            return ""
        source: Any = ref if ref.secret is None else getattr(self._objects[ref.secret], field)
        if source.env is not None:
            if source.env not in os.environ:
                raise Failed(f"the variable {source.env} is not set here, and a password is in it")
            return os.environ[source.env]
        return Path(source.file).read_text().rstrip("\n")

    def file(self, ref: SecretRef | None, field: str) -> str | None:
        """Of a certificate, the file that it is in."""
        if ref is None:
            return None
        source: Any = ref if ref.secret is None else getattr(self._objects[ref.secret], field)
        if source.file is None:
            raise Failed("certificates are read from files; give the Secret one")
        return source.file


class Cluster:
    """One RedisCluster. `open` it, and `close` it."""

    def __init__(self, name: str, spec: RedisClusterSpec, secrets: Secrets) -> None:
        self.name = name
        self._spec = spec
        self._options = _options(spec, secrets)
        self._sentinel_password = secrets.read(spec.sentinel_credentials.password_from) if spec.sentinel_credentials else ""
        self._nodes: dict[Place, redis.Redis] = {}
        self._slots: list[tuple[int, int, Place]] = []

    async def open(self) -> None:
        """Raises Failed."""
        await self.look()
        missing = [name for name, found in zip(("RESTORE", "PEXPIRETIME"), await self._known("restore", "pexpiretime"), strict=True) if not found]
        if missing:
            raise Failed(f"RedisCluster {self.name} does not know {' and '.join(missing)}; a migration needs Redis 7 or Valkey")

    async def check_databases(self) -> None:
        """Raises Failed where keys are in others than database 0, which stay where they are."""
        for master in self.masters:
            described = _text(await self._node(master).execute_command("INFO", "keyspace"))
            others = [line for line in described.splitlines() if line.startswith("db") and not line.startswith("db0:")]
            if others:
                raise Failed(f"RedisCluster {self.name} has keys outside of database 0 ({others[0]}), which are not moved")

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.aclose()

    async def look(self) -> None:
        """Who has which slot now. Raises Failed."""
        problem: Exception | None = None
        for place in [*self._nodes, *map(_place, self._spec.nodes or self._spec.sentinels)]:
            try:
                self._slots = await self._slots_of(place)
                return
            except (RedisError, OSError) as error:
                problem = error
        raise Failed(f"no node of RedisCluster {self.name} told its slots: {problem}")

    @property
    def layout(self) -> list[list[Any]]:
        """Which slots are where: the same as long as keys are found where they were."""
        return [[first, last, f"{place[0]}:{place[1]}"] for first, last, place in sorted(self._slots)]

    @property
    def masters(self) -> list[Place]:
        return sorted({place for _, _, place in self._slots})

    async def scan(self, master: Place, cursor: int, pattern: bytes | None, count: int) -> tuple[int, list[bytes]]:
        words = ["SCAN", cursor, "COUNT", count] + ([] if pattern is None else ["MATCH", pattern])
        following, keys = await self._node(master).execute_command(*words)
        return int(following), keys

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The answers, as the servers give them. Raises Failed; an error that is about one command is its answer."""
        answers: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while left:
            left = await self._round(commands, answers, left)
            if left:
                if asyncio.get_running_loop().time() >= until:
                    raise Failed(f"RedisCluster {self.name} did not serve {commands[left[0]][0]!r}: {answers[left[0]]}")
                await asyncio.sleep(LOOK_AGAIN_S)
                await self.look()
        return answers

    async def _round(self, commands: Sequence[Command], answers: list[Any], left: Iterable[int]) -> list[int]:
        """Asks each once; those that have to be asked again."""
        by_node: dict[Place, list[int]] = {}
        for at in left:
            by_node.setdefault(self._owner(commands[at][0]), []).append(at)
        await asyncio.gather(*(self._ask(place, commands, answers, numbers) for place, numbers in by_node.items()))
        return [at for numbers in by_node.values() for at in numbers if _is_passing(answers[at])]

    async def _ask(self, place: Place, commands: Sequence[Command], answers: list[Any], numbers: list[int]) -> None:
        try:
            async with self._node(place).pipeline(transaction=False) as pipe:
                for at in numbers:
                    pipe.execute_command(*commands[at][1])
                for at, answer in zip(numbers, await pipe.execute(raise_on_error=False), strict=True):
                    answers[at] = answer
        except (RedisError, OSError) as error:
            for at in numbers:
                answers[at] = error

    def _owner(self, key: bytes) -> Place:
        slot = key_slot(key)
        for first, last, place in self._slots:
            if first <= slot <= last:
                return place
        raise Failed(f"nobody in RedisCluster {self.name} has slot {slot}")

    def _node(self, place: Place) -> redis.Redis:
        if place not in self._nodes:
            node = redis.Redis(host=place[0], port=place[1], **self._options)
            node.response_callbacks.clear()  # answers as they are: what the library makes of them loses something
            self._nodes[place] = node
        return self._nodes[place]

    async def _known(self, *commands: str) -> list[Any]:
        return await self._node(self.masters[0]).execute_command("COMMAND", "INFO", *commands)

    async def _slots_of(self, place: Place) -> list[tuple[int, int, Place]]:
        if self._spec.sentinels:
            async with redis.Redis(host=place[0], port=place[1], password=self._sentinel_password or None, decode_responses=True) as sentinel:
                host, port = await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._spec.master)
            return [(0, 16383, (host, int(port)))]
        if self._spec.mode == "single":
            role = (await self._node(place).execute_command("ROLE"))[0]
            if role != b"master":
                raise ResponseError(f"{place[0]}:{place[1]} is a {_text(role)}")
            return [(0, 16383, place)]
        shards = await self._node(place).execute_command("CLUSTER", "SLOTS")
        found = [(int(first), int(last), (_text(master[0]) or place[0], int(master[1]))) for first, last, master, *_ in shards]
        if sum(last - first + 1 for first, last, _ in found) < 16384:
            raise ResponseError(f"{place[0]}:{place[1]} does not see all slots served")
        return found


def _options(spec: RedisClusterSpec, secrets: Secrets) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
    if spec.credentials is not None:
        options["username"] = spec.credentials.user or None
        options["password"] = secrets.read(spec.credentials.password_from) or None
    if spec.tls is not None and spec.tls.mode != "disable":
        options["ssl"] = True
        options["ssl_cert_reqs"] = ssl.CERT_REQUIRED if spec.tls.mode.startswith("verify") else ssl.CERT_NONE
        options["ssl_check_hostname"] = spec.tls.mode == "verify-full"
        options["ssl_ca_certs"] = secrets.file(spec.tls.ca_from, "ca")
        options["ssl_certfile"] = secrets.file(spec.tls.cert_from, "certificate")
        options["ssl_keyfile"] = secrets.file(spec.tls.key_from or spec.tls.cert_from, "key")
    return options


def _place(text: str) -> Place:
    found: HostPort = parse_host_port(text)
    return found.host, found.port


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _is_passing(answer: Any) -> bool:
    """An error that passes when the slots have settled, or another node is the master."""
    if isinstance(answer, MovedError | AskError | ConnectionError | TimeoutError | OSError):
        return True
    return isinstance(answer, ResponseError) and str(answer).startswith(("TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN"))
