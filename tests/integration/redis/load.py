"""Applications at work while what is behind them changes: what they were told is noted, and compared with what is there at the end."""

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis

from mesh_core.lab import LabError, until

PAUSE_S = 0.005
UNKNOWN = "whether it ran is unknown"


class Loop(ABC):
    """One client that repeats a step. Errors are noted, and the loop goes on."""

    pause_s = PAUSE_S
    needs_whole_slot = False
    """Its commands have several keys of one slot: servers answer TRYAGAIN while a slot has moved in part."""

    def __init__(self) -> None:
        self.steps = 0
        self.errors: list[str] = []
        self.longest_s = 0.0

    @property
    def name(self) -> str:
        return f"{type(self).__name__} {getattr(self, 'key', '')}"

    @abstractmethod
    def step(self, client: redis.Redis, number: int) -> None: ...

    def wrong(self, client: redis.Redis) -> list[str]:
        """What is not there, or is there and should not be, when the loop has ended."""
        return []

    def run(self, client: redis.Redis, stopped: threading.Event) -> None:
        for number in itertools.count():
            started = time.monotonic()
            try:
                self.step(client, number)
            except redis.RedisError as error:
                self.errors.append(f"{self.name}: {error!r}")
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self.steps += 1
            if stopped.wait(self.pause_s):
                return


class Load:
    """Runs loops, a thread and a client each, from `with` to its end."""

    def __init__(self, connect: Callable[[], redis.Redis], loops: Sequence[Loop]) -> None:
        self.connect, self.loops = connect, loops
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=lambda loop=loop: loop.run(connect(), self.stopped)) for loop in loops]  # type: ignore[misc]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def goes_on(self, steps: int = 50, *, slots_are_whole: bool = True) -> None:
        """Waits until each loop has done so many steps more; with a slot in two halves, each that does not need it whole."""
        goals = [(loop, loop.steps + steps) for loop in self.loops if slots_are_whole or not loop.needs_whole_slot]

        def behind() -> list[str]:
            return [f"{loop.name} ({loop.steps} of {goal})" for loop, goal in goals if loop.steps < goal]

        until("the load goes on", lambda: _empty(behind()))

    @property
    def errors(self) -> list[str]:
        return [error for loop in self.loops for error in loop.errors]

    def wrong(self) -> list[str]:
        client = self.connect()
        return [fault for loop in self.loops for fault in loop.wrong(client)]


class Sets(Loop):
    """SET of a new key each time, with the tags in turn."""

    def __init__(self, name: str, tags: Sequence[str]) -> None:
        super().__init__()
        self.key, self.tags = name, tags
        self.sent: dict[str, float] = {}
        self.confirmed: dict[str, str] = {}

    def step(self, client: redis.Redis, number: int) -> None:
        key = f"{{{self.tags[number % len(self.tags)]}}}:{self.key}:{number}"
        self.sent[key] = time.monotonic()
        client.set(key, number)
        self.confirmed[key] = str(number)

    def missing(self, client: redis.Redis) -> list[str]:
        keys = list(self.confirmed)
        return [key for key, value in zip(keys, client.mget(keys), strict=True) if value != self.confirmed[key]]

    def wrong(self, client: redis.Redis) -> list[str]:
        return self.missing(client)


class Increments(Loop):
    """Pipelines of INCR: each counts once, or is said to be unknown."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.confirmed, self.unknown = key, 0, 0

    def step(self, client: redis.Redis, number: int) -> None:
        with client.pipeline(transaction=False) as pipe:
            for _ in range(4):
                pipe.incr(self.key)
            for answer in pipe.execute(raise_on_error=False):
                if not isinstance(answer, Exception):
                    self.confirmed += 1
                elif UNKNOWN in str(answer):
                    self.unknown += 1
                else:
                    self.errors.append(repr(answer))

    def wrong(self, client: redis.Redis) -> list[str]:
        value = int(client.get(self.key) or 0)  # type: ignore[arg-type]
        if self.confirmed <= value <= self.confirmed + self.unknown:
            return []
        return [f"{self.key} is {value} after {self.confirmed} confirmed increments and {self.unknown} unknown ones"]


class Batches(Loop):
    """MSET of keys, and MGET of them: over many slots, or of one."""

    def __init__(self, name: str, tag: str = "") -> None:
        super().__init__()
        self.key = name
        self.keys = [f"{{{tag}}}:{name}:{place}" if tag else f"{name}:{place}" for place in range(10)]
        self.needs_whole_slot = bool(tag)

    def step(self, client: redis.Redis, number: int) -> None:
        client.mset(dict.fromkeys(self.keys, number))
        values = client.mget(self.keys)
        if values != [str(number)] * len(self.keys):
            self.errors.append(f"MGET after MSET of {number}: {values}")


class Transactions(Loop):
    """MULTI of one slot: two counters that are always equal."""

    needs_whole_slot = True

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.key = tag
        self.keys = [f"{{{tag}}}:left", f"{{{tag}}}:right"]
        self.confirmed = 0

    def step(self, client: redis.Redis, number: int) -> None:
        with client.pipeline() as pipe:
            left, right = pipe.incr(self.keys[0]).incr(self.keys[1]).execute()
        self.confirmed += 1
        if not left == right == self.confirmed:
            self.errors.append(f"{self.keys}: {left} and {right} after {self.confirmed}")


class Optimistic(Loop):
    """WATCH, read, write what was read and one more."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.confirmed = key, 0

    def step(self, client: redis.Redis, number: int) -> None:
        def add_one(pipe: Any) -> None:
            value = int(pipe.get(self.key) or 0)
            pipe.multi()
            pipe.set(self.key, value + 1)

        client.transaction(add_one, self.key)
        self.confirmed += 1

    def wrong(self, client: redis.Redis) -> list[str]:
        value = client.get(self.key)
        return [] if value == str(self.confirmed) else [f"{self.key} is {value} after {self.confirmed} transactions"]


class Handover(Loop):
    """This client says numbers and another hears them: all, in order."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.said = key, 0
        self.heard: list[int] = []
        self.listener = threading.Thread(target=self._listen)

    @abstractmethod
    def say(self, client: redis.Redis, what: int | str) -> None: ...

    @abstractmethod
    def hear(self) -> Iterator[str]: ...

    def _listen(self) -> None:
        self.heard.extend(int(what) for what in itertools.takewhile(lambda what: what != "end", self.hear()))

    def run(self, client: redis.Redis, stopped: threading.Event) -> None:
        self.listener.start()
        super().run(client, stopped)
        self.say(client, "end")
        self.listener.join()

    def step(self, client: redis.Redis, number: int) -> None:
        self.say(client, number)
        self.said = number + 1

    def wrong(self, client: redis.Redis) -> list[str]:
        return [] if self.heard == list(range(self.said)) else [f"{self.key}: {self.said} said, heard {self.heard}"]


class Queue(Handover):
    """RPUSH by this client, BLPOP by another."""

    def __init__(self, connect: Callable[[], redis.Redis], key: str) -> None:
        super().__init__(key)
        self.consumer = connect()

    def say(self, client: redis.Redis, what: int | str) -> None:
        client.rpush(self.key, what)

    def hear(self) -> Iterator[str]:
        while True:
            try:
                item: Any = self.consumer.blpop([self.key], 30)
            except redis.RedisError as error:
                self.errors.append(f"BLPOP: {error!r}")
                continue
            if item is None:
                return
            yield item[1]


class Messages(Handover):
    """PUBLISH by this client, received by another."""

    def __init__(self, connect: Callable[[], redis.Redis], channel: str) -> None:
        super().__init__(channel)
        self.subscriber = connect().pubsub()
        self.subscriber.subscribe(channel)
        self.subscriber.get_message(timeout=20)

    def say(self, client: redis.Redis, what: int | str) -> None:
        client.publish(self.key, what)

    def hear(self) -> Iterator[str]:
        return (message["data"] for message in self.subscriber.listen() if message["type"] == "message")


def of_every_kind(connect: Callable[[], redis.Redis]) -> list[Loop]:
    """Single keys, many keys of one slot and of many, transactions, WATCH, a blocking command, messages."""
    return [
        *(Sets(f"set{writer}", [str(tag) for tag in range(writer, 1000, 8)]) for writer in range(8)),
        Increments("count:a"),
        Increments("count:b"),
        Batches("spread"),
        Batches("same", tag="batch"),
        Transactions("pair"),
        Optimistic("watched"),
        Queue(connect, "queue"),
        Messages(connect, "news"),
    ]


def _empty(behind: list[str]) -> None:
    if behind:
        raise LabError(f"behind: {', '.join(behind)}")
