"""What a store does not do whose objects something else keeps: a folder, a Kubernetes cluster. It is read only, and remembers nothing."""

from collections.abc import Iterable

from xds.store.base import Change, Contents, Entry, Gone, Head, Key, Log, RefusedChange, StoreFailed, Written


class KeptElsewhere:
    """`where` and `advice` are for those who want to change something here."""

    def __init__(self, where: str, advice: str):
        self._where, self._advice = where, advice

    async def write(self, puts: Iterable[Entry], deletes: Iterable[Key], *, expected: int, author: str, reason: str) -> int:
        raise StoreFailed(f"this control plane takes its objects from {self._where}; {self._advice}")

    async def history(self, limit: int) -> list[Change]:
        return []

    async def at(self, revision: int) -> Contents:
        raise Gone(f"this control plane takes its objects from {self._where} and remembers no revisions; what keeps them does")

    async def audit(self) -> Log:
        return Log(Head(), ())

    async def refuse(self, refusal: RefusedChange) -> Head:
        return Head()

    async def written(self, revision: int) -> Written:
        raise Gone(f"this control plane takes its objects from {self._where} and keeps no log of them; what keeps them does")
