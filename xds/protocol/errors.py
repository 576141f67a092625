"""What a server says of a resource it cannot give (D10; cncf/xds, proposal TP3)."""

from dataclasses import dataclass

from xds.protocol import wire

# google.rpc.Code
NOT_FOUND = 5
PERMISSION_DENIED = 7
UNAVAILABLE = 14

_FINAL = frozenset({NOT_FOUND, PERMISSION_DENIED})


@dataclass(frozen=True, slots=True)
class ResourceError:
    """Why there is no such resource for the client, or none now. `code` is a google.rpc.Code."""

    type_url: str
    name: str
    code: int
    text: str

    @property
    def may_pass(self) -> bool:
        """The client keeps what it has of the resource until it is told more."""
        return self.code not in _FINAL

    def frame(self, number: int) -> bytes:
        """envoy.service.discovery.v3.ResourceError as this field of a response."""
        status = wire.integer(1, self.code) + wire.field(2, self.text)
        return wire.field(number, wire.field(1, wire.field(1, self.name)) + wire.field(2, status))


def not_found(type_url: str, name: str) -> ResourceError:
    return ResourceError(type_url, name, NOT_FOUND, "there is no such resource")
