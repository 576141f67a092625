"""Which sidecars may come to the xDS server, and which nodes each may be: by token, or by the certificate that TLS has verified.

What decides is `sidecars` of the access file (rights.py). Without it a certificate's owner is let in as the node of its own name, and, where no
certificates are asked for, everybody as any node.
"""

import hashlib
import math
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase

from google.protobuf.message import Message

from mesh_core.control.access import Access, Unauthorized, bearer
from mesh_core.control.certificates import Certificate, NoIdentity, certificate_of
from mesh_core.control.rights import SidecarEntry
from xds.server.gate import Call, Peer, nobody, not_for_this

_FILE = "`sidecars` in the control plane's access file"
_HOW = f"start it with --token FILE; `midstream token` makes a token, and its digest goes under {_FILE}"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One that was let in, and what it may be."""

    gate: "SidecarGate"
    call: Call
    name: str
    nodes: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    expires: float = math.inf

    def require(self, node: Message) -> None:
        if not _is_one_of(node.id, self.nodes):
            may = f"only {', '.join(self.nodes)}" if self.nodes else "nor any other"
            raise not_for_this(f"{self.name} may not be the node {node.id or 'without a name'}, {may}: change its --node, or `nodes` under {_FILE}")
        if node.cluster and not _is_one_of(node.cluster, self.clusters):
            raise not_for_this(f"{self.name} may not be of the cluster {node.cluster}: add that to its `clusters` under {_FILE}")

    def may_see(self, node: str) -> bool:
        return _is_one_of(node, self.nodes)

    def require_still(self, node: Message | None) -> None:
        again = self.gate.admit(self.call)
        if node is not None:
            again.require(node)


class SidecarGate:
    """`access` is asked anew for every caller: its file may have changed."""

    def __init__(self, access: Access | None):
        self._access = access
        self._seen = self._entries()

    def has_changed(self) -> bool:
        before, self._seen = self._seen, self._entries()
        return before != self._seen

    def admit(self, call: Call) -> Peer:
        certificate = _certificate(call)
        entries = self._entries()
        header = call.metadata.get("authorization", "")
        if entries is None:
            return self._by_name(call, certificate)
        if header:
            return self._by_token(call, header, entries)
        if certificate is not None:
            return self._by_certificate(call, certificate, entries)
        raise nobody(f"this control plane wants to know which sidecar asks: {_HOW}")

    def _entries(self) -> tuple[SidecarEntry, ...] | None:
        return None if self._access is None else self._access.sidecars()

    def _by_name(self, call: Call, certificate: Certificate | None) -> Peer:
        if certificate is None:
            return Sidecar(self, call, "anybody", ("*",), ("*",))
        return Sidecar(self, call, f"the certificate of {certificate.identity}", (certificate.node,), (), certificate.expires)

    def _by_token(self, call: Call, header: str, entries: tuple[SidecarEntry, ...]) -> Peer:
        try:
            digest = hashlib.sha256(bearer(header).encode()).hexdigest()
            found = next((entry for entry in entries if entry.token_sha256 == digest), None)
            if found is not None:
                return Sidecar(self, call, f"the token of {found.name}", found.nodes, found.clusters)
            return self._onlooker(call, header)
        except Unauthorized:
            raise nobody(f"this sidecar's token is not known here, it may have been replaced: {_HOW}") from None

    def _onlooker(self, call: Call, header: str) -> Peer:
        """A person is no node, and may look at the status of all with a role that reads everything. Raises Unauthorized."""
        assert self._access is not None
        who = self._access.by_token(header)
        return Onlooker(who.name, sees=who.may_all("read"))

    def _by_certificate(self, call: Call, certificate: Certificate, entries: tuple[SidecarEntry, ...]) -> Peer:
        found = [entry for entry in entries if entry.certificate and fnmatchcase(certificate.identity, entry.certificate)]
        if not found:
            raise nobody(f"the certificate of {certificate.identity} is known to no entry: add one with `certificate` under {_FILE}")
        nodes = tuple(name for entry in found for name in entry.nodes or (certificate.node,))
        clusters = tuple(name for entry in found for name in entry.clusters)
        return Sidecar(self, call, f"the certificate of {certificate.identity}", nodes, clusters, certificate.expires)


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A person."""

    name: str
    sees: bool
    expires: float = math.inf

    def require(self, node: Message) -> None:
        raise not_for_this(f"{self.name} is a person's name and no sidecar's: {_HOW}")

    def may_see(self, node: str) -> bool:
        return self.sees

    def require_still(self, node: Message | None) -> None:
        """Nothing that lasts was opened for it."""


def _certificate(call: Call) -> Certificate | None:
    """Raises Denied."""
    if not call.certificate:
        return None
    try:
        found = certificate_of(call.certificate)
    except NoIdentity as error:
        raise nobody(str(error)) from error
    if found.expires <= time.time():
        raise nobody(f"the certificate of {found.identity} has expired: replace the sidecar's files, it reads them again")
    return found


def _is_one_of(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
