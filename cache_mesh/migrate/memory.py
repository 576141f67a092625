"""What `midstream migrate` keeps between two runs: how far a walk is, and what the last clean comparison rests on."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Memory:
    """`witness`: the sidecars of the last clean comparison of that direction (see `sidecars.witness`). `nodes`: all that were ever seen; a control
    plane that was started anew knows only of those that have come back."""

    path: Path
    of: list[Any] = field(default_factory=list)  # from, to, prefixes
    walk: dict[str, int | None] = field(default_factory=dict)
    layout: Any = None
    backfilled: bool = False
    nodes: list[str] = field(default_factory=list)
    direction: str = ""
    witness: dict[str, list] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path, name: str, of: list[Any]) -> "Memory":
        """What was kept of this migration; of another one by its name nothing."""
        path = folder / f"migrate-{name}.json"
        try:
            kept = json.loads(path.read_text())
        except (OSError, ValueError):
            kept = {}
        if not isinstance(kept, dict) or kept.get("of") != of:
            return Memory(path, of)
        return Memory(path, **kept)

    def save(self) -> None:
        """All or nothing: a kill in the middle leaves the one before."""
        kept = asdict(self)
        del kept["path"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=self.path.name, delete=False) as file:
            json.dump(kept, file)
        os.replace(file.name, self.path)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
