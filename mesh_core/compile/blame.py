"""From a refused resource back to the object, field and line that its author can change."""

import re
from collections.abc import Iterable
from typing import Protocol

from mesh_core.model.kinds import Compiled
from mesh_core.model.problem import Problem
from mesh_core.model.source import parent

_FILTER = re.compile(r"^filter_chains\[\d+\]\.filters\[\d+\]\.typed_config\.?")

# Where the message says it in other words than the object. Matched on whole steps of the path, after camel-casing.
_WORDS = {
    "passwordSecret": "passwordFrom",
    "certificateSecret": "certFrom",
    "clientCaSecret": "clientCaFrom",
    "caSecret": "caFrom",
    "requireClientCertificate": "requireClientCert",
    "brokerPortFirst": "brokerPorts",
    "brokerPortLast": "brokerPorts",
    "keysSecret": "keysFrom",
}
_PHRASES = (
    ("hash.runs", "buckets"),
    ("range.spans", "ranges"),
    ("list.values", "lists"),
    ("list.otherwise", "otherwise"),
    ("colocate.table", "colocate"),
    ("authentication.users", "users"),
    ("authentication.tokens", "sasl.tokens"),
    ("authentication.mechanisms", "sasl.mechanisms"),
    ("authentication", "auth"),
)


class Refusal(Protocol):
    """A refused resource, whoever refused it: the data plane's own class or an xDS client's NACK."""

    @property
    def type_url(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def reason(self) -> str: ...


class Blame:
    """The owners of a configuration's resources."""

    def __init__(self, compiled: Iterable[Compiled]):
        self._owners = {(item.type_url, item.name): item for item in compiled}

    def owner(self, type_url: str, name: str) -> Compiled | None:
        return self._owners.get((type_url, name))

    def problem(self, refusal: Refusal) -> Problem:
        """The refusal in its author's terms. A resource nobody owns keeps its own."""
        item = self.owner(refusal.type_url, refusal.name)
        if item is None:
            kind = refusal.type_url.rpartition(".")[2]
            return Problem("", 0, kind, refusal.name, refusal.field, refusal.reason)
        return item.owner.problem(authored_path(item, refusal.field), refusal.reason)


def authored_path(item: Compiled, field: str) -> str:
    """The path in the owner's document that a field of the resource comes from; the nearest one that was written."""
    path = ".".join(_step(step) for step in _FILTER.sub("", field).split("."))
    for phrase, word in _PHRASES:
        path = path.replace(phrase, word)
    path = f"{item.base}.{path}" if path else item.base
    while path and path not in item.owner.document.lines:
        path = parent(path)
    return path


def _step(step: str) -> str:
    """ "wait_timeout_ms" -> "waitTimeout", "shards[1]" stays."""
    name, bracket, index = step.partition("[")
    first, *rest = name.removesuffix("_ms").split("_")
    camel = first + "".join(part.capitalize() for part in rest)
    return _WORDS.get(camel, camel) + bracket + index
