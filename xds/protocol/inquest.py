"""Who is to blame for a refused response of many resources, when its client does not say (Envoy and gRPC refuse responses as a whole).

    refused -> halves of it are given alone, one after the other -> taken: innocent
                                                                 -> refused: halved again; one resource alone: guilty

`k` guilty ones among `n` are found with about `k log2(n / k)` responses, and never more than 2n: each refusal makes groups smaller.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xds.protocol.resource import Resource

# More than 50 guilty ones among 100,000 need; then all who are left are held to be guilty together.
MAX_TRIALS = 4096

Group = tuple[Resource, ...]


@dataclass(slots=True)
class _Half:
    group: Group
    sibling: "_Half | None" = None
    known_bad: bool = False  # its sibling was taken, so what was wrong with both is in here


class Inquest:
    """Of one type on one stream. `suspects` are those of whom nothing is known yet, `guilty` those that were refused alone."""

    def __init__(self) -> None:
        self.suspects: dict[str, Resource] = {}
        self.guilty: dict[str, tuple[Resource, str]] = {}  # name -> what was refused, and the client's words
        self.trying: Group = ()
        self._halves: list[_Half] = []
        self._half: _Half | None = None
        self._trials = 0
        self._said = ""

    def refused(self, refused: Iterable[Resource], reason: str) -> None:
        """A response was refused; those of it that the client had not taken before."""
        group = tuple(refused)
        self._said = reason
        self._half, self.trying = None, ()
        self.suspects.update((found.name, found) for found in group)
        self._open(group)

    def taken(self, resources: Iterable[Resource]) -> None:
        """A response was acknowledged."""
        for found in resources:
            if self._is_suspect(found):
                del self.suspects[found.name]
        if self._half is not None and not any(map(self._is_suspect, self._half.group)):
            if self._half.sibling is not None:
                self._half.sibling.known_bad = True
            self._half, self.trying = None, ()

    def next(self, current: Iterable[Resource]) -> Group:
        """Whom to give alone now, of those that are still to be given at all; nobody: it is over."""
        alive = {found.name: found.version for found in current}
        for name in [name for name, found in self.suspects.items() if alive.get(name) != found.version]:
            del self.suspects[name]
        if not any(map(self._is_suspect, self.trying)):
            self._half, self.trying = None, ()
        while self._halves and not self.trying:
            half = self._halves.pop()
            half.group = tuple(filter(self._is_suspect, half.group))
            if self._trials >= MAX_TRIALS:
                self.guilty.update((found.name, (found, self._said)) for found in half.group)
            elif half.known_bad and len(half.group) > 1:
                self._open(half.group)
            elif half.group:
                self._trials += 1
                self._half, self.trying = half, half.group
        if not self.trying:
            self.suspects.clear()
        return self.trying

    def _open(self, group: Group) -> None:
        if len(group) == 1:
            self.guilty[group[0].name] = (group[0], self._said)
            self.suspects.pop(group[0].name, None)
            return
        middle = len(group) // 2
        right = _Half(group[middle:])
        self._halves += [right, _Half(group[:middle], right)]

    def _is_suspect(self, resource: Resource) -> bool:
        found = self.suspects.get(resource.name)
        return found is not None and found.version == resource.version
