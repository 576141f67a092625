"""CLUSTER NODES, read. Source: https://valkey.io/commands/cluster-nodes/"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LabError

SLOTS = 16384


@dataclass(frozen=True)
class Node:
    """One line of CLUSTER NODES; `slots` are inclusive ranges, migrating and importing ones left out."""

    id: str
    host: str
    port: int
    flags: frozenset[str]
    master_id: str | None
    linked: bool
    slots: tuple[tuple[int, int], ...]

    @property
    def is_master(self) -> bool:
        return "master" in self.flags

    @property
    def failed(self) -> bool:
        return bool(self.flags & {"fail", "fail?", "noaddr", "handshake"})

    def owns(self, slot: int) -> bool:
        return any(first <= slot <= last for first, last in self.slots)


def parse(text: str) -> list[Node]:
    return [_line(line) for line in text.splitlines() if line.strip()]


def _line(line: str) -> Node:
    words = line.split()
    if len(words) < 8:
        raise LabError(f"CLUSTER NODES: a line of {len(words)} words: {line!r}")
    host, port = words[1].split("@")[0].split(",")[0].rsplit(":", 1)
    ranges = [word.split("-") for word in words[8:] if not word.startswith("[")]
    return Node(
        id=words[0],
        host=host,
        port=int(port),
        flags=frozenset(words[2].split(",")),
        master_id=None if words[3] == "-" else words[3],
        linked=words[7] == "connected",
        slots=tuple((int(pair[0]), int(pair[-1])) for pair in ranges),
    )
