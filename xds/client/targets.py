"""Which control plane is asked next.

Several that are named together ("a:18000,b:18000") are equals: each sidecar takes them in an order of its own, so that thousands spread over them,
and spread again over the others when one is lost. Of several names the first comes first: those behind it are for when it does not answer.
"""

from collections.abc import Iterable, Sequence
from random import Random


class Targets:
    """A position in the order of all addresses. `preferred` are those to return to from there."""

    def __init__(self, names: Iterable[str], random: Random | None = None):
        self._random = random or Random()
        self._ranks = [[address.strip() for address in name.split(",") if address.strip()] for name in names]
        for equals in self._ranks:
            self._random.shuffle(equals)
        self._position = 0

    @property
    def current(self) -> str:
        return self._order()[self._position]

    @property
    def preferred(self) -> Sequence[str]:
        """Addresses of the ranks before the current one."""
        before: list[str] = []
        for equals in self._ranks:
            if len(before) + len(equals) > self._position:
                break
            before += equals
        return before

    def take(self, address: str) -> None:
        """One of them answers."""
        self._position = self._order().index(address)

    def lost(self, *, answered: bool) -> None:
        """Go on to another: after one that had answered from the start, but with it as the last of its equals."""
        if not answered:
            self._position = (self._position + 1) % len(self._order())
            return
        address = self.current
        for equals in self._ranks:
            self._random.shuffle(equals)
            equals.sort(key=lambda other: other == address)
        self._position = 0

    def _order(self) -> list[str]:
        return [address for equals in self._ranks for address in equals]
