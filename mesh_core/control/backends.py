"""What the control plane's probers see of the servers behind the mesh, for all sidecars: no sidecar has to probe."""

from collections.abc import Iterable

from mesh_core.compile.blame import Blame
from mesh_core.compile.compiler import Configuration
from mesh_core.probing import Probing
from mesh_core.registry import Registry
from xds.protocol.client import Held, Key
from xds.protocol.resource import Resource
from xds.server.hub import Hub


class Backends:
    """Publishes endpoints with the roles and the health that were seen. The servers' passwords must be readable here: those that are not
    answered stay as they are configured."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._configuration = Configuration((), Blame(()))
        self._tried: Configuration | None = None
        self._seen: dict[Key, Held] = {}
        self._probing = Probing(registry, self._publish)

    def resources(self, configuration: Configuration) -> Iterable[Resource]:
        """Those of a new configuration, as far as it is known how their servers are."""
        self._configuration = configuration
        self._seen = self._probing.configure(configuration.held())
        return self._laid_over(configuration)

    def tried(self, configuration: Configuration | None) -> Iterable[Resource]:
        """The same of a configuration that only some sidecars have, until None ends that."""
        self._tried = configuration
        return self._laid_over(configuration) if configuration is not None else ()

    async def look(self) -> None:
        """One round. Before the first sidecar is served: it is not to believe for a second a primary that was deposed long ago."""
        await self._probing.look()

    async def run(self) -> None:
        """Until cancelled."""
        await self._probing.run()

    def _publish(self, seen: dict[Key, Held]) -> None:
        self._seen = seen
        self._hub.publish(self._laid_over(self._configuration))
        if self._tried is not None and self._hub.trial is not None:
            self._hub.try_out(self._laid_over(self._tried), self._hub.trial.cohort)

    def _laid_over(self, configuration: Configuration) -> list[Resource]:
        """What was seen holds for resources that are configured as those that were looked at."""
        looked_at = {(resource.type_url, resource.name): resource.version for resource in self._configuration.resources}
        found = []
        for resource in configuration.resources:
            key = (resource.type_url, resource.name)
            found.append(self._one(resource, self._seen.get(key) if looked_at.get(key) == resource.version else None))
        return found

    @staticmethod
    def _one(resource: Resource, seen: Held | None) -> Resource:
        return resource if seen is None else Resource(resource.type_url, resource.name, seen.value, warms=resource.warms)
