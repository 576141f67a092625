"""What one stream has asked for of one type, and what it holds.

Both variants share this; they differ in how a request changes the names and in how the answer is written.
"""

from collections.abc import Iterable

from xds.protocol.resource import Difference, TypeSet

WILDCARD = "*"


class Subscription:
    """Names, and the versions the client was last given.

    `holds` is a TypeSet shared with every other client in the same state, or a dict of this client's own: name to version.
    """

    def __init__(self, type_url: str):
        self.type_url = type_url
        self.wildcard = False
        self.names: set[str] = set()
        self.explicit = False  # a name was once given, so an empty list no longer means the wildcard (S8)
        self.holds: TypeSet | dict[str, str] = {}
        self.seen: TypeSet | None = None  # the set the last answer was computed from
        self.told_absent: set[str] = set()  # explicit names the client knows not to exist (D3)
        self.forced: set[str] = set()  # to be sent even if held (D2, W3, S9)
        self.answer_due = False  # the first answer is owed even when it is empty
        self.nothing = TypeSet(type_url)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def holds_name(self, name: str) -> bool:
        return name in (self.holds.resources if isinstance(self.holds, TypeSet) else self.holds)

    def subscribe(self, names: Iterable[str]) -> None:
        """Names are sent even if held: the client may have dropped them (D2)."""
        for name in names:
            self.explicit = True
            if name == WILDCARD:
                self.start_wildcard()
            else:
                self.names.add(name)
                self.forced.add(name)
                self.told_absent.discard(name)

    def start_wildcard(self) -> None:
        if self.wildcard:
            self.forced.update(self._versions())  # asked again, so sent again (D2)
        self.wildcard = True
        self.answer_due = True

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Names that were never subscribed are ignored (D5); under the wildcard the rest are answered (D4)."""
        for name in names:
            if name == WILDCARD:
                self._stop_wildcard()
            elif name in self.names:
                self.names.discard(name)
                self.told_absent.discard(name)
                if self.wildcard:
                    self.forced.add(name)
                else:
                    self._drop(name)

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
        self.seen = target
        self.told_absent = {name for name in self.names if name not in target.resources}
        self.forced.clear()
        self.answer_due = False
        if self.wildcard:
            self.holds = target
        else:
            present = target.resources
            self.holds = {name: present[name].version for name in self.names if name in present}

    def is_settled(self, target: TypeSet) -> bool:
        """Nothing can be due: true for nearly every stream at nearly every push, so it must cost nothing."""
        return self.seen is target and not self.forced and not self.answer_due

    def _compare(self, target: TypeSet) -> Difference:
        held = self._versions()
        present = target.resources
        wanted = present.keys() if self.wildcard else self.names & present.keys()
        changed = [present[name] for name in sorted(wanted) if name in self.forced or held.get(name) != present[name].version]
        gone = {name for name in held if name not in present}
        absent = {name for name in self.names | self.forced if name not in present and name not in self.told_absent}
        return Difference(changed, sorted(gone | absent))

    def _versions(self) -> dict[str, str]:
        if isinstance(self.holds, TypeSet):
            return {name: resource.version for name, resource in self.holds.resources.items()}
        return self.holds

    def _stop_wildcard(self) -> None:
        self.wildcard = False
        self.forced &= self.names
        self.holds = {name: version for name, version in self._versions().items() if name in self.names}

    def _drop(self, name: str) -> None:
        self.forced.discard(name)
        if isinstance(self.holds, dict):
            self.holds.pop(name, None)
