"""Keys of every type, with and without an end: put there before a migration, changed during it, and read from each side when it is over."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import redis

from tests.integration.redis.load import Batches, Increments, Loop, Optimistic, Queue, Sets, Transactions

HOUR_MS = 3_600_000
# Beyond the limits of the small encodings, so that two servers hold them in another order.
MANY = 700


def preload(client: redis.Redis, keys: int) -> None:
    """So many strings, and some of each other type."""
    soon = int(time.time() * 1000) + HOUR_MS
    with client.pipeline(transaction=False) as pipe:
        for number in range(keys):
            pipe.set(f"old:{number}", "x" * (number % 100), pxat=soon + number if number % 3 else None)
        pipe.set(b"old:\x00\xff*?[", b"\x00\xff" * 50)
        for size in (3, MANY):
            pipe.hset(f"old:hash:{size}", mapping={f"field{n}": n for n in range(size)})
            pipe.rpush(f"old:list:{size}", *range(size))
            pipe.sadd(f"old:set:{size}", *(f"member{n}" for n in range(size)))
            pipe.zadd(f"old:zset:{size}", {f"member{n}": n / 7 for n in range(size)})
            for number in range(size):
                pipe.xadd(f"old:stream:{size}", {"n": number}, id=f"{number + 1}-1")
            pipe.xgroup_create(f"old:stream:{size}", "group", id="0")
            pipe.xreadgroup("group", "consumer", {f"old:stream:{size}": ">"}, count=2)
            pipe.pexpireat(f"old:hash:{size}", soon)
        pipe.pfadd("old:hyperloglog", *range(100))
        pipe.execute()


class Kinds(Loop):
    """Each type in turn, written by way of one sidecar and read by way of the other at once: nobody sees anything but the last write."""

    def __init__(self, name: str, other: redis.Redis) -> None:
        super().__init__()
        self.key, self.other = name, other
        self.ends: dict[str, int] = {}
        self.popped: list[str] = []
        self.added = 0

    def step(self, client: redis.Redis, number: int) -> None:
        name, clients = self.key, itertools.cycle((client, self.other) if number % 2 else (self.other, client))
        writer, reader = next(clients), next(clients)
        writer.hset(f"{name}:hash", str(number % 50), number)
        self._expect(reader.hget(f"{name}:hash", str(number % 50)), str(number))
        writer.rpush(f"{name}:list", number)
        self._expect(reader.lindex(f"{name}:list", -1), str(number))
        self._expect(writer.sadd(f"{name}:set", number), 1)
        self.added += 1
        if number % 4 == 3:
            self.popped.append(str(reader.spop(f"{name}:set")))
        writer.zadd(f"{name}:zset", {str(number % 60): number})
        self._expect(reader.zscore(f"{name}:zset", str(number % 60)), float(number))
        entry: Any = writer.xadd(f"{name}:stream", {"n": number})
        last: Any = reader.xrevrange(f"{name}:stream", count=1)
        self._expect(last[0][0], entry)
        key, end = f"{name}:string:{number % 20}", int(time.time() * 1000) + HOUR_MS + number
        if number % 5 == 4:
            writer.delete(key)
            self.ends.pop(key, None)
            self._expect(reader.get(key), None)
        else:
            writer.set(key, number, pxat=end)
            self.ends[key] = end
            self._expect(reader.pexpiretime(key), end)

    def _expect(self, found: object, wanted: object) -> None:
        if found != wanted:
            self.errors.append(f"{self.key}: {found!r} instead of {wanted!r}")

    def wrong(self, client: redis.Redis) -> list[str]:
        faults = [f"{key} ends at another time" for key, end in self.ends.items() if client.pexpiretime(key) != end]
        left = client.smembers(f"{self.key}:set")
        if set(self.popped) & left or len(self.popped) + len(left) != self.added:  # type: ignore[operator, arg-type]
            faults.append(f"{self.key}:set has {len(left)} after {self.added} added and {len(self.popped)} popped")  # type: ignore[arg-type]
        length = client.llen(f"{self.key}:list")
        return [*faults, *([] if length == self.steps else [f"{self.key}:list has {length} after {self.steps}"])]


def loops(connect: Callable[[], redis.Redis], others: Callable[[], redis.Redis]) -> list[Loop]:
    """`connect` goes to both sidecars in turn, `others` the other way round."""
    return [
        *(Kinds(f"kinds{number}", others()) for number in range(2)),
        Sets("set", [str(tag) for tag in range(100)]),
        Increments("count"),
        Batches("spread"),
        Batches("same", tag="batch"),
        Transactions("pair"),
        Optimistic("watched"),
        Queue(connect, "queue"),
    ]


def held(clients: list[redis.Redis]) -> dict[bytes, tuple]:
    """All that these nodes have: type, content and end of every key."""
    found: dict[bytes, tuple] = {}
    for client in clients:
        for key in client.scan_iter(count=1000):
            found[key] = (client.type(key), client.pexpiretime(key), _content(client, key))
    return found


def _content(client: redis.Redis, key: bytes) -> Any:
    kind: Any = client.type(key)
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: (client.xrange(key), [(one["name"], one["pending"], one["last-delivered-id"]) for one in client.xinfo_groups(key)]),  # type: ignore[union-attr, arg-type]
    }
    return read[kind]()
