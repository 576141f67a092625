"""What one stream has asked for of one type, and what it holds.

Both variants share this; they differ in how a request changes the names and in how the answer is written.
"""

from collections.abc import Iterable

from xds.protocol.errors import ResourceError
from xds.protocol.names import glob_of, is_glob, normal
from xds.protocol.resource import Difference, TypeSet

WILDCARD = "*"


class Subscription:
    """Names (globs among them), and the versions the client was last given.

    `holds` is a TypeSet shared with every other client in the same state, or a dict of this client's own: name to version.
    """

    def __init__(self, type_url: str):
        self.type_url = type_url
        self.wildcard = False
        self.names: set[str] = set()
        self.globs = 0  # how many of the names are globs
        self.explicit = False  # a name was once given, so an empty list no longer means the wildcard (S8)
        self.holds: TypeSet | dict[str, str] = {}
        self.seen: TypeSet | None = None  # the set the last answer was computed from
        self.told_absent: set[str] = set()  # explicit names the client knows not to exist (D3)
        self.told_errors: dict[str, ResourceError] = {}  # of explicit names; each is said once (D10)
        self.forced: set[str] = set()  # to be sent even if held (D2, W3, S9)
        self.answer_due = False  # the first answer is owed even when it is empty
        self.nothing = TypeSet(type_url)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names or (self.globs > 0 and glob_of(name) in self.names)

    def holds_name(self, name: str) -> bool:
        return name in (self.holds.resources if isinstance(self.holds, TypeSet) else self.holds)

    def subscribe(self, names: Iterable[str]) -> None:
        """Names are sent even if held: the client may have dropped them (D2)."""
        for name in map(normal, names):
            self.explicit = True
            if name == WILDCARD:
                self.start_wildcard()
                continue
            if name not in self.names:
                self.names.add(name)
                self.globs += is_glob(name)
            self.forced.add(name)
            self.told_absent.discard(name)
            self.told_errors.pop(name, None)

    def start_wildcard(self) -> None:
        if self.wildcard:
            self.forced.update(self._versions())  # asked again, so sent again (D2)
        self.wildcard = True
        self.answer_due = True

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Names that were never subscribed are ignored (D5); under the wildcard the rest are answered (D4)."""
        for name in map(normal, names):
            if name == WILDCARD:
                self._stop_wildcard()
            elif name in self.names:
                self.forget(name)
                if self.wildcard:
                    self.forced.add(name)

    def forget(self, name: str) -> None:
        """The client has dropped it, with the members of a glob, where nothing else asks for them."""
        self.names.discard(name)
        self.globs -= is_glob(name)
        self.told_absent.discard(name)
        self.told_errors.pop(name, None)
        self.forced.discard(name)
        if isinstance(self.holds, dict) and not self.wildcard:
            gone = [held for held in self.holds if not self.wants(held)] if is_glob(name) else [name] * (not self.wants(name))
            for held in gone:
                self.holds.pop(held, None)

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
        self.told_absent = {name for name in self.names if self._is_absent(name, target)}
        self.told_errors = {name: target.errors[name] for name in self.names & target.errors.keys()} if target.errors else {}
        self.forced.clear()
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

    def _members(self, names: set[str], target: TypeSet) -> set[str]:
        """The resources that these names and globs stand for."""
        found = names & target.resources.keys()
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
        self.forced &= self.names | self.holds.keys()
