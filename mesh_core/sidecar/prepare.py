"""The first phase of a change that all sidecars make together: it is checked here as if it were made, and what speaks against it is said at once.

Checked are fields and references, by this sidecar's own validator, and whether it has the secrets; not whether an address can be bound, which is
known only when it is.
"""

import os
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import Message

from mesh_core._dataplane import validate
from xds.messages import message
from xds.protocol.client import Held, Key
from xds.protocol.prepared import PREPARED, changes_in, place
from xds.protocol.report import Refused
from xds.protocol.types import SECRET


def without_prepared(offered: Iterable[Held]) -> list[Held]:
    """What is to be in force."""
    return [held for held in offered if held.type_url != PREPARED]


def refusals(offered: Mapping[Key, Held], changed: Mapping[Key, Held]) -> list[Refused]:
    """Of the prepared changes among `changed`, on top of what is offered."""
    return [found for held in changed.values() if held.type_url == PREPARED and (found := _refusal(offered, held)) is not None]


def _refusal(offered: Mapping[Key, Held], prepared: Held) -> Refused | None:
    after = {(held.type_url, held.name): held for held in without_prepared(offered.values())}
    places: dict[Key, int] = {}
    for index, change in enumerate(changes_in(prepared.value)):
        key = (change.type_url, change.name)
        places[key] = index
        if change.version:
            after[key] = Held(*key, change.version, change.value)
        else:
            after.pop(key, None)
    for refusal in validate([(held.type_url, held.name, held.version, held.value) for held in after.values()]):
        # What was refused before speaks against no change.
        index = places.get((refusal.type_url, refusal.name))
        if index is not None:
            return Refused(PREPARED, prepared.name, prepared.version, place(index, refusal.field), refusal.reason)
    for key, index in places.items():
        if key[0] == SECRET and key in after and (reason := _unreadable(after[key])):
            return Refused(PREPARED, prepared.name, prepared.version, place(index, ""), reason)
    return None


def _unreadable(held: Held) -> str:
    """Why a secret is not to be had on this machine; "" where it is."""
    secret = message("envoy.extensions.transport_sockets.tls.v3.Secret").FromString(held.value)
    for source in _sources(secret):
        if source.WhichOneof("specifier") == "environment_variable" and source.environment_variable not in os.environ:
            return f"{source.environment_variable} is not set on this sidecar"
        if source.WhichOneof("specifier") == "filename" and not os.access(source.filename, os.R_OK):
            return f"{source.filename} cannot be read on this sidecar"
    return ""


def _sources(secret: Message) -> Iterator[Message]:
    yield secret.generic_secret.secret
    yield secret.tls_certificate.certificate_chain
    yield secret.tls_certificate.private_key
    yield secret.validation_context.trusted_ca
