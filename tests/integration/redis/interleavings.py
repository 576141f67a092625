"""Readers and writers of the same keys through two sidecars with near caches, and what each reader must know.

A key has one writer, so its versions grow in the order in which they are acknowledged. A read that *begins* after

* a write of the key through the same sidecar (of one worker) was acknowledged, or
* a *fence* behind a write from elsewhere came back: a read that no cache answers, in RESP3, sent after the write was acknowledged. Its
  reply comes behind the invalidation, on the very connection on which the node tells this sidecar of changes,

must not return an older version; nor one whose time was over before the read began; nor, through one sidecar, an older one than another
read of the same command had returned before it began.
"""

import random
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import redis

from mesh_core.lab import RedisCluster

BATCH = 16
KEYS = 48
GONE = -1  # no version: the key is not there
TICK_S = 0.001  # a key lives until the node's clock, in whole milliseconds, is past its end


class Connection:
    """RESP on a socket; knows as much of it as these commands' replies need."""

    def __init__(self, port: int, resp: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")
        self.pushes: list[object] = []
        if resp == 3:
            self.send([("HELLO", "3")])
            self.reply()

    def send(self, commands: list[tuple[str, ...]]) -> None:
        self.socket.sendall(b"".join(_encoded(command) for command in commands))

    def reply(self) -> object:
        """The next reply; pushes before it are kept."""
        while True:
            is_push, value = self.next()
            if not is_push:
                return value
            self.pushes.append(value)

    def next(self) -> tuple[bool, object]:
        """The next message, and whether it is a push."""
        is_push = self.file.peek(1)[:1] == b">"
        return is_push, self._value()

    def _value(self) -> object:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind in b"*~%>":
            return None if rest == b"-1" else [self._value() for _ in range(int(rest) * (2 if kind == b"%" else 1))]
        return None if kind == b"_" else line[:-2]

    def ask(self, *commands: tuple[str, ...]) -> list[object]:
        self.send(list(commands))
        return [self.reply() for _ in commands]

    def close(self) -> None:
        self.socket.close()


def _encoded(words: tuple[str, ...]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


class Sight:
    """What readers of one sidecar must know."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.known = [GONE] * KEYS
        self.seen: dict[tuple[object, ...], int] = defaultdict(lambda: GONE)


class Interleavings:
    """Runs until `reads` were checked. `violations` says what was read too old."""

    def __init__(self, cluster: RedisCluster, ports: list[int]) -> None:
        self.cluster = cluster
        self.sights = [Sight(port) for port in ports]
        self.versions = [0] * KEYS
        self.ended: dict[int, dict[int, float]] = {key: {} for key in range(KEYS)}
        self.reads = self.writes = self.kills = self.unknown = 0
        self.violations: list[str] = []
        self.stopped = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def run(self, reads: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Two readers and a writer at each sidecar, a writer at the nodes, and one who cuts connections."""
        work: list[Callable[[], None]] = [lambda sight=sight, resp=resp: self._read(sight, resp) for sight in self.sights for resp in (2, 3)]  # type: ignore[misc]
        writers = len(self.sights) + 1
        work += [lambda writer=writer: self._write(writer, writers) for writer in range(writers)]  # type: ignore[misc]
        threads = [threading.Thread(target=self._guarded, args=(one,)) for one in [*work, self._cut]]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0002)  # writers are to come between readers
        for thread in threads:
            thread.start()
        meanwhile()
        while self.reads < reads and not self.violations:
            time.sleep(0.05)  # the others work; nothing to wait for but their number
        self.stopped.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    def pause_writers(self) -> None:
        """Until each has what it wrote acknowledged, and the replicas have it."""
        self.go_on.clear()
        for index in range(self.cluster.masters):
            self.cluster.master(index).command("WAIT", 1, 2000)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self.stopped.is_set():
                self.violations.append(repr(error))
                raise

    def _read(self, sight: Sight, resp: int) -> None:
        connection = Connection(sight.port, resp)
        dice = random.Random(resp)
        while not self.stopped.is_set():
            keys = [dice.randrange(KEYS) for _ in range(dice.choice((1, BATCH)))]
            least = [max(sight.known[key], sight.seen[key, resp]) for key in keys]
            began = time.monotonic()
            for key, bound, value in zip(keys, least, connection.ask(*[_read(key) for key in keys]), strict=True):
                self._check(sight, resp, key, bound, began, value)
            self.reads += len(keys)
        connection.close()

    def _check(self, sight: Sight, resp: int, key: int, least: int, began: float, value: object) -> None:
        if isinstance(value, bytes) and value.startswith(b"-"):
            self.violations.append(f"{key}: {value!r}")
        elif isinstance(value, bytes):
            version = int(value)
            sight.seen[key, resp] = max(sight.seen[key, resp], version)
            if version < least:
                self.violations.append(f"{key}: version {version} where {least} was known, RESP{resp}, port {sight.port}")
            if began > self.ended[key].get(version, float("inf")) + TICK_S:
                self.violations.append(f"{key}: version {version}, whose time was over, RESP{resp}")
        elif least > GONE and least not in self.ended[key] and self.versions[key] == least:
            self.violations.append(f"{key}: nothing where {least} was known")

    def _write(self, writer: int, writers: int) -> None:
        """Writes its keys through its sidecar, and the last writer directly; reads what it wrote on the same connection."""
        dice = random.Random(writer)
        own = self.sights[writer] if writer < len(self.sights) else None
        connection = Connection(own.port, 3) if own else None
        direct = self.cluster.client()
        fences = [(sight, Connection(sight.port, 3)) for sight in self.sights]
        while not self.stopped.is_set():
            if not self.go_on.wait(0.1):
                continue
            key = dice.randrange(KEYS // writers) * writers + writer
            version = self.versions[key] = self.versions[key] + 1
            command, ends_ms = _written(key, version, dice)
            if ends_ms:
                self.ended[key][version] = float("inf")
            if not (self._here(connection, command, key, version) if connection else self._elsewhere(direct, command)):
                self.unknown += 1
                continue
            if ends_ms:
                self.ended[key][version] = time.monotonic() + ends_ms / 1000
            self.writes += 1
            if own:
                own.known[key] = version
            for sight, fence in fences:
                fence.ask(("GET", f"fence:{{{key}}}"))
                sight.known[key] = version

    def _here(self, connection: Connection, command: tuple[str, ...], key: int, version: int) -> bool:
        """Whether the write was acknowledged; a read right behind it sees it."""
        written, read = connection.ask(command, _read(key))
        if isinstance(written, bytes) and written.startswith(b"-"):
            return False
        if read is not None and (not isinstance(read, bytes) or int(read) != version):
            self.violations.append(f"{key}: read {read!r} behind its own write of {version}")
        return True

    def _elsewhere(self, direct: redis.RedisCluster, command: tuple[str, ...]) -> bool:
        try:
            direct.execute_command(*command)
        except redis.RedisError:
            return False
        return True

    def _cut(self) -> None:
        """Cuts all connections of a node, those of the trackers among them."""
        dice = random.Random(99)
        while not self.stopped.wait(0.25):
            server = dice.choice([server for server in self.cluster.servers if server.process.alive])
            try:
                server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                self.kills += 1
            except Exception:
                continue  # the node is being killed


def _read(key: int) -> tuple[str, ...]:
    return ("HGET", f"near:{{{key}}}", "f") if key % 2 else ("GET", f"near:{{{key}}}")


def _written(key: int, version: int, dice: random.Random) -> tuple[tuple[str, ...], int]:
    """The command, and the value's life in milliseconds, 0 for ever."""
    name = f"near:{{{key}}}"
    if key % 2:
        return ("HSET", name, "f", str(version)), 0
    if dice.random() < 0.3:
        ends_ms = dice.randrange(5, 200)
        return ("SET", name, str(version), "PX", str(ends_ms)), ends_ms
    return ("SET", name, str(version)), 0
