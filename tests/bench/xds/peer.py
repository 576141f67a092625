"""What one sidecar holds, shared with all that hold the same."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from xds.messages import message
from xds.protocol.resource import set_version

Key = tuple[str, str]  # type URL, name

# Bytes of a response's end that are its receiver's own: type URL, nonce, names of removals.
_OWN_BYTES = 4096


class Lost(Exception):
    """A sidecar has lost its control plane; the text says how."""


class Held:
    """A set of resources by name and version, immutable. What it becomes by a response is worked out once for all that hold it."""

    def __init__(self, versions: Mapping[Key, str]):
        self.versions = versions
        self._after: dict[bytes, Held] = {}

    @cached_property
    def version(self) -> str:
        """As the server computes it of what it has given."""
        return set_version((url, name, version) for (url, name), version in self.versions.items())

    def after(self, response: "Response") -> "Held":
        found = self._after.get(response.content)
        if found is None:
            changed = {(response.type_url, name): version for name, version in response.resources}
            kept = {key: version for key, version in self.versions.items() if key not in response.removed}
            if len(self._after) > 64:
                self._after.clear()
            found = self._after[response.content] = Held(kept | changed)
        return found


class Response:
    """A DeltaDiscoveryResponse, as far as it matters here. `content` stands for everything but its nonce."""

    __slots__ = ("content", "nonce", "removed", "resources", "type_url", "version")

    def __init__(self, data: bytes, resources: tuple[tuple[str, str], ...]):
        found = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(data)
        own = tuple((resource.name, resource.version) for resource in found.resources)
        self.resources = resources + own
        self.type_url, self.nonce, self.version = found.type_url, found.nonce, found.system_version_info
        self.removed = frozenset((found.type_url, name) for name in found.removed_resources)
        self.content = b"%d %s" % (hash((self.resources, self.removed)), found.type_url.encode())


class Reader:
    """Reads responses. Large ones begin alike for all sidecars: what was read once is not read again, as a client of the same process would not
    be what is to be measured. A message is the concatenation of its fields, so a known beginning needs only be compared."""

    def __init__(self) -> None:
        self._beginnings: list[tuple[bytes, str, tuple[tuple[str, str], ...]]] = []

    def read(self, data: bytes) -> Response:
        if len(data) <= _OWN_BYTES:
            return Response(data, ())
        for beginning, version, resources in self._beginnings:
            if data.startswith(beginning):
                found = Response(data[len(beginning) :], resources)
                found.version = version
                return found
        whole = Response(data, ())
        self._remember(data, whole.version)
        return whole

    def _remember(self, data: bytes, version: str) -> None:
        """The whole fields that the message begins with, up to its last bytes."""
        end = max(_ends(data, len(data) - _OWN_BYTES), default=0)
        resources = Response(data[:end], ()).resources
        self._beginnings = [(data[:end], version, resources), *self._beginnings[:15]]


def _ends(data: bytes, limit: int) -> Iterable[int]:
    """Where fields end, up to a limit; all fields of a response are length-delimited."""
    at = 0
    while at < limit:
        yield at
        at += 1
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += length
