"""Files that hold secrets: when one changes, passwords, tokens, keys and certificates are read again, and nothing is restarted.

Only connections that are made later use what is new. A file that is wrong, or half written, changes nothing, and is tried when it changes again.
"""

import asyncio
from collections.abc import Iterable, Iterator

import structlog
from google.protobuf.message import Message

from mesh_core._dataplane import Dataplane
from xds.messages import message
from xds.protocol.client import Held
from xds.protocol.types import SECRET
from xds.stamp import Stamp, stamp

log = structlog.get_logger()

# A file that is replaced is seen by its name within this; asking costs microseconds for each.
EVERY_S = 1.0


class SecretFiles:
    """`resources` are what is in force, asked for at each look."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane
        self._resources: list[Held] = []
        self._seen: dict[str, Stamp | None] = {}

    def configure(self, resources: Iterable[Held]) -> None:
        """Tells what is in force: it has just been read."""
        self._resources = list(resources)
        self._seen = {path: stamp(path) for path in self._paths()}

    async def run(self) -> None:
        """Looks at the files until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()

    def look(self) -> None:
        """Looks once."""
        found = {path: stamp(path) for path in self._seen}
        changed = sorted(path for path, now in found.items() if now != self._seen[path])
        if not changed:
            return
        self._seen = found
        refusals = self._dataplane.refresh()
        for refusal in refusals:
            log.error("a changed secret cannot be used; the one before stays", files=changed, name=refusal.name, reason=refusal.reason)
        if not refusals:
            log.info("secrets were read again", files=changed)

    def _paths(self) -> set[str]:
        return {path for held in self._resources if held.type_url == SECRET for path in _filenames(held)}


def _filenames(held: Held) -> Iterator[str]:
    secret = message("envoy.extensions.transport_sockets.tls.v3.Secret")()
    secret.ParseFromString(held.value)
    sources: list[Message] = [
        secret.generic_secret.secret,
        secret.tls_certificate.certificate_chain,
        secret.tls_certificate.private_key,
        secret.validation_context.trusted_ca,
    ]
    for source in sources:
        if source.WhichOneof("specifier") == "filename":
            yield source.filename  # type: ignore[attr-defined]
