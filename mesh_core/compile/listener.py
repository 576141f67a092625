"""Listener objects."""

from collections.abc import Callable, Iterable

from mesh_core.compile.skeleton import listener_message, set_listen_address
from mesh_core.model.kinds import Authored, Compiled, Kinds, World
from xds.protocol.types import LISTENER


def compile_listener(kinds: Kinds) -> Callable[[Authored, World], Iterable[Compiled]]:
    """The compiler of Listener objects; the filter is its protocol's."""

    def compile_one(listener: Authored, world: World) -> Iterable[Compiled]:
        filter_config = kinds.protocols[listener.spec.protocol].filter(listener, world)
        message = listener_message(listener.name, filter_config)
        set_listen_address(message.address, listener.spec.address, listener.spec.socket_mode)
        return [Compiled(LISTENER, listener.name, message, listener)]

    return compile_one
