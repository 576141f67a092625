"""What one stream has asked for of one type, and what it holds.

Both variants share this; they differ in how a request changes the names and in how the answer is written.
"""

from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from types import MappingProxyType

from xds.protocol.errors import ResourceError
from xds.protocol.names import glob_of, is_glob, normal
from xds.protocol.resource import Difference, TypeSet

WILDCARD = "*"

# A sidecar has twenty subscriptions, most of them to everything, and to nothing by name: what they have not is shared.
_NO_NAMES: frozenset[str] = frozenset()
_NO_ERRORS: Mapping[str, ResourceError] = MappingProxyType({})


@lru_cache(maxsize=1024)
def _nothing(type_url: str) -> TypeSet:
    return TypeSet(type_url)


class Subscription:
    """Names (globs among them), and the versions the client was last given.

    `holds` is a TypeSet shared with every other client in the same state, or a dict of this client's own: name to version.
    """

    __slots__ = (
        "answer_due", "explicit", "forced", "globs", "holds", "names", "nothing", "seen", "told_absent", "told_errors", "type_url", "wildcard"
    )  # fmt: skip

    def __init__(self, type_url: str):
        self.type_url = type_url
        self.wildcard = False
        self.names: Set[str] = _NO_NAMES
        self.globs = 0  # how many of the names are globs
        self.explicit = False  # a name was once given, so an empty list no longer means the wildcard (S8)
        self.holds: TypeSet | dict[str, str] = {}
        self.seen: TypeSet | None = None  # the set the last answer was computed from
        self.told_absent: Set[str] = _NO_NAMES  # explicit names the client knows not to exist (D3)
        self.told_errors: Mapping[str, ResourceError] = _NO_ERRORS  # of explicit names; each is said once (D10)
        self.forced: Set[str] = _NO_NAMES  # to be sent even if held (D2, W3, S9)
        self.answer_due = False  # the first answer is owed even when it is empty
        self.nothing = _nothing(type_url)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names or (self.globs > 0 and glob_of(name) in self.names)

    def holds_name(self, name: str) -> bool:
        return name in (self.holds.resources if isinstance(self.holds, TypeSet) else self.holds)

    def subscribe(self, names: Iterable[str]) -> None:
        """Names are sent even if held: the client may have dropped them (D2)."""
        asked = set(map(normal, names))
        self.explicit = self.explicit or bool(asked)
        if WILDCARD in asked:
            asked.discard(WILDCARD)
            self.start_wildcard()
        if not asked:
            return
        self.globs += sum(map(is_glob, asked - self.names))
        self.names = self.names | asked
        self.force(asked)

    def force(self, names: Set[str]) -> None:
        """They are to be answered even if they were."""
        self.forced = self.forced | names
        self._untell(names)

    def _untell(self, names: Set[str]) -> None:
        if self.told_absent:
            self.told_absent = self.told_absent - names or _NO_NAMES
        if self.told_errors:
            self.told_errors = {name: error for name, error in self.told_errors.items() if name not in names} or _NO_ERRORS

    def start_wildcard(self) -> None:
        if self.wildcard:
            self.forced = self.forced | self._versions().keys()  # asked again, so sent again (D2)
        self.wildcard = True
        self.answer_due = True

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Names that were never subscribed are ignored (D5); under the wildcard the rest are answered (D4)."""
        dropped = set(map(normal, names))
        if WILDCARD in dropped:
            self._stop_wildcard()
        known = dropped & self.names
        self.forget(known)
        if self.wildcard and known:
            self.forced = self.forced | known

    def forget(self, names: Set[str]) -> None:
        """The client has dropped them, with the members of globs, where nothing else asks for them."""
        if not names:
            return
        self.names = self.names - names or _NO_NAMES
        self.globs -= sum(map(is_glob, names))
        self.forced = self.forced - names or _NO_NAMES
        self._untell(names)
        if isinstance(self.holds, dict) and not self.wildcard:
            gone = [held for held in self.holds if not self.wants(held)] if any(map(is_glob, names)) else names
            for held in gone:
                if not self.wants(held):
                    self.holds.pop(held, None)

    def disown(self, names: Iterable[str]) -> None:
        """The client was given these and did not take them: what it has of them is not known."""
        refused = set(names)
        self.holds = {name: version for name, version in self._versions().items() if name not in refused}

    def due(self, target: TypeSet) -> Difference:
        """What the client must be given to hold `target`, as far as it is subscribed. Call `settle` once that is queued."""
        held = self.holds
        if self.wildcard and not self.forced and not self.names:
            if isinstance(held, TypeSet):
                return target.since(held)
            if not held:
                return target.whole
        return self._compare(target)

    def settle(self, target: TypeSet) -> None:
        """The client has been given what `due(target)` said."""
        present = target.resources
        if self.wildcard:
            self.holds = target
        else:
            kept = {name: version for name, version in self._versions().items() if name in target.withheld and self.wants(name)}
            self.holds = {name: present[name].version for name in self._wanted(target)} | kept
        self.seen = target
        self.told_absent = {name for name in self.names if self._is_absent(name, target)} or _NO_NAMES
        self.told_errors = {name: target.errors[name] for name in self.names & target.errors.keys()} or _NO_ERRORS
        self.forced = _NO_NAMES
        self.answer_due = False

    def is_settled(self, target: TypeSet) -> bool:
        """Nothing can be due: true for nearly every stream at nearly every push, so it must cost nothing."""
        return self.seen is target and not self.forced and not self.answer_due

    def _compare(self, target: TypeSet) -> Difference:
        held = self._versions()
        present = target.resources
        again = self._members(self.forced, target) if self.forced else self.forced
        changed = [present[name] for name in sorted(self._wanted(target)) if name in again or held.get(name) != present[name].version]
        gone = {name for name in held if name not in present and name not in target.withheld}
        absent = {name for name in self.names | self.forced if name not in self.told_absent and self._is_absent(name, target)}
        errors = [target.errors[name] for name in sorted(self.names & target.errors.keys()) if self.told_errors.get(name) != target.errors[name]]
        return Difference(changed, sorted(gone | absent), errors)

    def _wanted(self, target: TypeSet) -> Iterable[str]:
        return target.resources.keys() if self.wildcard else self._members(self.names, target)

    def _members(self, names: Set[str], target: TypeSet) -> Set[str]:
        """The resources that these names and globs stand for."""
        found = set(names & target.resources.keys())
        if self.globs:
            for name in names:
                found.update(target.globs.get(name, ()))
        return found

    def _is_absent(self, name: str, target: TypeSet) -> bool:
        return name not in target.resources and name not in target.globs and name not in target.withheld

    def _versions(self) -> dict[str, str]:
        if isinstance(self.holds, TypeSet):
            versions = {name: resource.version for name, resource in self.holds.resources.items()}
            return versions | dict.fromkeys(self.holds.withheld, "")
        return self.holds

    def _stop_wildcard(self) -> None:
        self.wildcard = False
        self.holds = {name: version for name, version in self._versions().items() if self.wants(name)}
        self.forced = self.forced & (self.names | self.holds.keys())
