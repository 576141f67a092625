"""What is in force in this sidecar, and since when; what the admin address shows."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh_core._dataplane import Dataplane, Refusal
from mesh_core.sidecar.brain import Brain
from mesh_core.sidecar.secrets import SecretFiles
from xds.protocol.client import Held, Key
from xds.protocol.report import Refused


@dataclass
class State:
    """The one place where a configuration comes into force."""

    dataplane: Dataplane
    brain: Brain
    secrets: SecretFiles
    node: str = ""
    origin: str = "nothing yet"
    since: float = 0.0
    stale: bool = False
    resources: list[Held] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)

    def apply(self, resources: Iterable[Held], origin: str) -> list[Refused]:
        """Puts a set in force, less what the data plane refuses. Blocks for some milliseconds: sockets are bound."""
        offered = [(held.type_url, held.name, held.version, held.value) for held in resources]
        refusals = [_refused(refusal) for refusal in self.dataplane.apply(offered)]
        self.resources = [Held(*resource) for resource in self.dataplane.in_force()]
        self.refusals = refusals
        self.origin, self.since, self.stale = origin, time.time(), False
        self.brain.configure(self.resources)
        self.secrets.configure(self.resources)
        return refusals

    @property
    def ready(self) -> bool:
        """A configuration is in force."""
        return self.since > 0

    def listening(self) -> str:
        """One phrase of the bound listeners: ``shop 127.0.0.1:5432, cache 127.0.0.1:6379``."""
        return ", ".join(f"{name} {address}" for name, address in self.dataplane.listening()) or "no listeners yet"

    def as_json(self) -> dict[str, object]:
        """For ``/config``: versions, not contents, so that it can be shown to anyone."""
        return {
            "origin": self.origin,
            "since": self.since,
            "stale": self.stale,
            "listeners": [{"name": name, "address": address} for name, address in self.dataplane.listening()],
            "resources": [{"type": held.type_url.rpartition("/")[2], "name": held.name, "version": held.version} for held in self.resources],
            "refused": [
                {"type": r.type_url.rpartition("/")[2], "name": r.name, "version": r.version, "field": r.field, "reason": r.reason}
                for r in self.refusals
            ],
        }


def keyed(resources: Iterable[Held]) -> dict[Key, Held]:
    """Resources by type and name."""
    return {(held.type_url, held.name): held for held in resources}


def _refused(refusal: Refusal) -> Refused:
    return Refused(refusal.type_url, refusal.name, refusal.version, refusal.field, refusal.reason)
