"""Listener objects."""

from collections.abc import Callable, Iterable

from mesh_core.compile.skeleton import listener_message
from mesh_core.model.kinds import Authored, Compiled, Kinds, World
from mesh_core.model.values import parse_host_port
from xds.protocol.types import LISTENER


def compile_listener(kinds: Kinds) -> Callable[[Authored, World], Iterable[Compiled]]:
    """The compiler of Listener objects; the filter is its protocol's."""

    def compile_one(listener: Authored, world: World) -> Iterable[Compiled]:
        filter_config = kinds.protocols[listener.spec.protocol].filter(listener, world)
        address = parse_host_port(listener.spec.address)
        return [Compiled(LISTENER, listener.name, listener_message(listener.name, address, filter_config), listener)]

    return compile_one
