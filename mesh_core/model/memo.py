"""What was worked out of objects holds as long as all that was looked at for it is the same.

Checks and compilers are functions of one object and of what they look up in its world. When one object of a thousand changes, only those are asked
again that looked at it, or at all of its kind.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from mesh_core.model.kinds import Authored, World

T = TypeVar("T")
Key = tuple[str, str]


class Memo(Generic[T]):
    """Of one function. It remembers the last world only."""

    def __init__(self, work: Callable[[Authored, World], T]) -> None:
        self._work = work
        self._last = World(())
        self._known: dict[Key, _Known[T]] = {}

    def of(self, world: World) -> list[T]:
        """The function's results for all objects of a world, in its order."""
        changed = _changed(self._last, world)
        kinds = {kind for kind, _ in changed} | {kind for kind in world.kinds | self._last.kinds if world.all(kind) != self._last.all(kind)}
        known: dict[Key, _Known[T]] = {}
        for found in world:
            last = self._known.get(found.key)
            known[found.key] = last if last is not None and last.holds(found.key, changed, kinds) else self._ask(found, world)
        self._last, self._known = world, known
        return [found.result for found in known.values()]

    def _ask(self, found: Authored, world: World) -> "_Known[T]":
        seen = _Seen(world)
        return _Known(self._work(found, seen), frozenset(seen.keys), frozenset(seen.looked_through))


class _Known(Generic[T]):
    __slots__ = ("_keys", "_kinds", "result")

    def __init__(self, result: T, keys: frozenset[Key], kinds: frozenset[str]) -> None:
        self.result, self._keys, self._kinds = result, keys, kinds

    def holds(self, key: Key, changed: set[Key], kinds: set[str]) -> bool:
        return key not in changed and self._keys.isdisjoint(changed) and self._kinds.isdisjoint(kinds)


class _Seen(World):
    """A world that notes what is looked up in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.keys: set[Key] = set()
        self.looked_through: set[str] = set()

    def get(self, kind: str, name: str) -> Authored | None:
        self.keys.add((kind, name))
        return self._world.get(kind, name)

    def all(self, kind: str) -> list[Authored]:
        self.looked_through.add(kind)
        return self._world.all(kind)

    @property
    def kinds(self) -> set[str]:
        raise TypeError("what an object is may depend on objects of kinds that it names, not on which kinds there are")

    def __iter__(self) -> Iterator[Authored]:
        raise TypeError("what an object is may depend on objects of kinds that it names, not on all there are")


def _changed(one: World, other: World) -> set[Key]:
    """The keys of objects that are only in one of two worlds, or not the same in both."""
    changed = {found.key for found in other if one.get(*found.key) is not found}
    return changed | {found.key for found in one if other.get(*found.key) is None}
