"""Where a scene is played, and the normal form of what it prints."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from .sniffer import Sniffer

T = TypeVar("T")

# Longer than anything takes on a loaded machine of two cores.
DEADLINE_S = 60

_PATTERNS = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    # Kafka's own form: 22 characters of base64, in which all kinds of them nearly always occur.
    (re.compile(r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{22}(?![\w-])"), "UUID"),
    (re.compile(r"\b1[5-9]\d{11}\b"), "TIME"),
    (re.compile(r"/[\w./-]*/broker-\d+/data"), "DATA"),
)


@dataclass(frozen=True)
class At:
    """`known` names the addresses that clients are told; `sniffer` is there through the mesh."""

    bootstrap: str
    brokers: int
    folder: Path
    known: Mapping[str, str]
    sniffer: Sniffer | None = None

    @property
    def replicas(self) -> int:
        return min(3, self.brokers)

    def broker(self, host: str, port: int) -> str:
        """The name of a broker's address."""
        return self.known.get(f"{host}:{port}", f"nobody knows {host}:{port}")

    def normal(self, line: str) -> str:
        """A line without what differs from run to run."""
        line = line.replace(f"--bootstrap-server {self.bootstrap}", "--bootstrap-server BOOTSTRAP")
        for address, name in self.known.items():
            host, _, port = address.partition(":")
            line = re.sub(rf"(?<![\d.]){re.escape(host)}[: ]+{port}(?!\d)", name, line)
        for pattern, name in _PATTERNS:
            line = pattern.sub(name, line)
        return line


Scene: TypeAlias = Callable[[At], Iterable[str]]


def until(ask: Callable[[], T], is_there: Callable[[T], bool]) -> T:
    """Asks until the answer is there: brokers learn of a change one after the other. Every question is a round trip."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_there(answer := ask()):
        if time.monotonic() > deadline:
            raise Failed(f"still {answer!r} after {DEADLINE_S} s")
    return answer


class Failed(Exception):
    """A scene that did not come to its end."""
