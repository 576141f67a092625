"""Whether a file that is read again when it changes has changed."""

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int]  # when it was written, its length, its inode


def stamp(path: Path | str) -> Stamp | None:
    """Differs when the file was written or replaced; None: it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def stamps(paths: Iterable[Path]) -> list[Stamp | None]:
    """Of each."""
    return [stamp(path) for path in paths]
