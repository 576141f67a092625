"""A folder of YAML files as a store: read only, its revision rises whenever a file changes."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from mesh_core.control.kept_elsewhere import KeptElsewhere
from mesh_core.model.problem import Invalid, Problem
from mesh_core.model.source import Document, read_path
from xds.stamp import stamp
from xds.store.base import Contents, Entry, Key

# A look is a stat of every file; half of the second within which a change is to be in force.
LOOK_EVERY_S = 0.4


class DirectoryStore(KeptElsewhere):
    """`path` is a folder or one file."""

    def __init__(self, path: Path):
        super().__init__(str(path), "change the files there")
        self._path = path
        self._revision = 0
        self._stamp: object = None

    async def read(self) -> Contents:
        """Raises Invalid, where a file cannot be read as YAML or two objects have one name."""
        self._look()
        documents, problems = await asyncio.to_thread(read_path, self._path)
        if problems:
            raise Invalid(problems)
        return Contents(self._revision, entries_of(documents))

    async def wait(self, after: int) -> int:
        while self._revision <= after:
            self._look()
            if self._revision <= after:
                await asyncio.sleep(LOOK_EVERY_S)
        return self._revision

    async def close(self) -> None:
        pass

    def _look(self) -> None:
        now = _stamps(self._path)
        if now != self._stamp:
            self._stamp = now
            self._revision += 1


def entries_of(documents: Iterable[Document]) -> dict[Key, Entry]:
    """Entries by kind and name. Raises Invalid where two documents have the same."""
    entries: dict[Key, Entry] = {}
    for document in documents:
        entry = entry_of(document)
        first = entries.setdefault(entry.key, entry)
        if first is not entry:
            line, other = document.line_of("metadata.name"), Document(None, first.file, first.lines).line_of("metadata.name")
            reason = f"is already the name of the {first.kind} at {first.file}:{other}"
            raise Invalid([Problem(entry.file, line, entry.kind, entry.name, "metadata.name", reason, "rename or remove one")])
    return entries


def entry_of(document: Document) -> Entry:
    """The document as a store keeps it. One without kind or name gets its place as its name, until it is refused for that."""
    value = document.value if isinstance(document.value, dict) else {}
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    place = f"{document.file}:{document.line_of('')}"
    return Entry(str(value.get("kind", "")), str(name) if name else place, document.value, document.file, document.lines)


def _stamps(path: Path) -> object:
    """Changes whenever a file below `path` does."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), stamp(file)) for file in files]
