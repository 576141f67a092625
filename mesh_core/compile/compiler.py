"""A world of checked objects to the resources every sidecar is given."""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh_core.compile.blame import Blame
from mesh_core.compile.secrets import sources_in_place
from mesh_core.model.kinds import Authored, Compiled, Kinds, World
from xds.messages import serialise
from xds.protocol.client import Held
from xds.protocol.resource import Resource
from xds.protocol.types import CLUSTER, ENDPOINTS


@dataclass(frozen=True, slots=True)
class Configuration:
    """Resources and, for each, whom to blame for it."""

    resources: tuple[Resource, ...]
    blame: Blame

    def held(self) -> list[Held]:
        """As a sidecar has them that got them from a control plane."""
        return [Held(resource.type_url, resource.name, resource.version, resource.value) for resource in self.resources]

    def tuples(self) -> list[tuple[str, str, str, bytes]]:
        """As the data plane takes them: type URL, name, version, bytes."""
        return [(resource.type_url, resource.name, resource.version, resource.value) for resource in self.resources]


def compile_world(world: World, kinds: Kinds) -> Configuration:
    """Equal worlds give byte-identical resources. The world must have passed its checks."""
    return configuration_of(compile_one(owner, world, kinds) for owner in world)


class Result:
    """What becomes of one object."""

    __slots__ = ("compiled", "resources")

    def __init__(self, compiled: Iterable[Compiled]) -> None:
        self.compiled = tuple(compiled)
        self.resources = tuple(map(_resource, self.compiled))


def compile_one(owner: Authored, world: World, kinds: Kinds) -> Result:
    in_place = sources_in_place(owner) if owner.kind != "Secret" else ()
    return Result([*kinds.kinds[owner.kind].compile(owner, world), *in_place])


def configuration_of(results: Iterable[Result]) -> Configuration:
    """Of all objects of a world, in its order."""
    found = list(results)
    resources = tuple(resource for result in found for resource in result.resources)
    return Configuration(resources, Blame(item for result in found for item in result.compiled))


def _resource(item: Compiled) -> Resource:
    warms = ((ENDPOINTS, item.name),) if item.type_url == CLUSTER else ()
    return Resource(item.type_url, item.name, serialise(item.message), warms=warms)
