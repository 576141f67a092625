"""A sidecar without a control plane looks after its back ends itself: what its probers see is laid over what is configured."""

import asyncio
import random
from collections.abc import Iterable

import structlog

from mesh_core.registry import Prober, Registry
from mesh_core.sidecar.state import State, keyed
from xds.protocol.client import Held, Key

log = structlog.get_logger()

# A hanging server is found within a few of these; up to half of one is added, so that sidecars do not ask in step.
EVERY_S = 1.0


class Probing:
    """Asks again and again, and puts what has changed in force."""

    def __init__(self, state: State, registry: Registry) -> None:
        self._state, self._registry = state, registry
        self._probers: dict[str, Prober] = {}
        self._configured: dict[Key, Held] = {}
        self._seen: dict[Key, Held] = {}

    def configure(self, resources: Iterable[Held]) -> list[Held]:
        """Another configuration; what of it is to be put in force, with what was seen so far."""
        before, self._configured = self._configured, keyed(resources)
        self._seen = {key: held for key, held in self._seen.items() if self._configured.get(key) == before.get(key)}
        for name, make in self._registry.probers(self._configured.values()).items():
            self._probers.setdefault(name, make()).configure(self._configured.values())
        return list((self._configured | self._seen).values())

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(EVERY_S * random.uniform(1, 1.5))
                configured = self._configured
                seen: dict[Key, Held] = {}
                for prober in self._probers.values():
                    seen |= await prober.look()
                if seen != self._seen and configured is self._configured:
                    self._put_in_force(seen)
        finally:
            for prober in self._probers.values():
                await prober.close()

    def _put_in_force(self, seen: dict[Key, Held]) -> None:
        for key in seen.keys() | self._seen.keys():
            if seen.get(key) != self._seen.get(key):
                log.warning("back ends have changed", name=key[1], version=seen[key].version if key in seen else "as configured")
        self._seen = seen
        for refused in self._state.apply((self._configured | seen).values(), self._state.origin):
            log.error("what was probed is not taken", name=refused.name, reason=refused.reason)
