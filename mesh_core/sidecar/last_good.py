"""The last configuration that was in force, on disk.

A sidecar that finds no control plane starts from it. One file: a line of JSON (format, SHA-256 of the rest), then JSON. It is replaced
as a whole (write, fsync, rename), readable by its owner only, and holds no secret: resources name secrets, their values stay where
they are, and a Secret that carries its value inline is left out.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

from xds.messages import message
from xds.protocol.client import Held
from xds.protocol.types import SECRET

FORMAT = 1


class Damaged(Exception):
    """The file is not what was written; ``str()`` says what is wrong."""


class LastGood:
    """The last good set of one node.

    :param path: the file; its folder is made, mode 0700, if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, resources: list[Held]) -> None:
        """Replaces the set. Raises OSError."""
        kept = [held for held in resources if held.type_url != SECRET or not carries_value(held)]
        rows = [[held.type_url, held.name, held.version, base64.b64encode(held.value).decode()] for held in kept]
        body = json.dumps(rows, separators=(",", ":")).encode()
        head = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)

    def load(self) -> list[Held] | None:
        """The saved set; ``None`` when none was ever saved. Raises :class:`Damaged`, OSError."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        head, _, body = text.partition(b"\n")
        try:
            facts = json.loads(head)
            if facts["format"] != FORMAT:
                raise Damaged(f"{self.path} has format {facts['format']}, this version reads {FORMAT}; remove it")
            if facts["sha256"] != hashlib.sha256(body).hexdigest():
                raise Damaged(f"{self.path} fails its checksum; remove it, the sidecar then waits for its control plane")
            return [Held(url, name, version, base64.b64decode(data)) for url, name, version, data in json.loads(body)]
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{self.path} cannot be read ({error}); remove it, the sidecar then waits for its control plane") from error


def carries_value(held: Held) -> bool:
    """Whether a Secret resource holds its value itself instead of naming a file or a variable."""
    secret = message("envoy.extensions.transport_sockets.tls.v3.Secret").FromString(held.value)
    sources = [
        secret.generic_secret.secret,
        secret.tls_certificate.certificate_chain,
        secret.tls_certificate.private_key,
        secret.validation_context.trusted_ca,
    ]
    return any(source.WhichOneof("specifier") in ("inline_bytes", "inline_string") for source in sources)
