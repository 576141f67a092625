"""Looks after the back ends, for all families: what their probers see is laid over what is configured.

Whoever is nobody's sidecar does it: a control plane for all of its own, and a sidecar that has none.
"""

import asyncio
import random
from collections.abc import Callable, Iterable

import structlog

from mesh_core.registry import Prober, Registry
from xds.protocol.client import Held, Key

log = structlog.get_logger()

# A hanging server is found within a few of these; up to half of one is added, so that nobody asks in step with others.
EVERY_S = 1.0


class Probing:
    """Asks again and again, and tells when the answers have changed.

    :param put_in_force: given the resources that are now to be in force instead of the configured ones of their names.
    """

    def __init__(self, registry: Registry, put_in_force: Callable[[dict[Key, Held]], None]) -> None:
        self._registry, self._put_in_force = registry, put_in_force
        self._probers: dict[str, Prober] = {}
        self._configured: dict[Key, Held] = {}
        self._seen: dict[Key, Held] = {}

    def configure(self, resources: Iterable[Held]) -> dict[Key, Held]:
        """Another configuration; what of it is to be replaced by what was seen so far."""
        before, self._configured = self._configured, {(held.type_url, held.name): held for held in resources}
        self._seen = {key: held for key, held in self._seen.items() if self._configured.get(key) == before.get(key)}
        for name, make in self._registry.probers(self._configured.values()).items():
            self._probers.setdefault(name, make()).configure(self._configured.values())
        return self._seen

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(EVERY_S * random.uniform(1, 1.5))
                await self.look()
        finally:
            for prober in self._probers.values():
                await prober.close()

    async def look(self) -> None:
        """One round."""
        configured = self._configured
        seen: dict[Key, Held] = {}
        for prober in self._probers.values():
            seen |= await prober.look()
        if seen == self._seen or configured is not self._configured:
            return
        for key in seen.keys() | self._seen.keys():
            if seen.get(key) != self._seen.get(key):
                log.warning("back ends have changed", name=key[1], version=seen[key].version if key in seen else "as configured")
        self._seen = seen
        self._put_in_force(seen)
