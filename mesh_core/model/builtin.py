"""Checks of the kinds every family shares: Listener, the policies, Secret."""

from collections.abc import Iterator
from ipaddress import ip_address

from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Kinds, World
from mesh_core.model.objects import suggest
from mesh_core.model.problem import Problem
from mesh_core.model.values import parse_host_port, unix_path

ALL_LISTENERS = "*"
_OPTIONAL_FIELDS = {
    "auth": "auth",
    "users": "users",
    "databases": "databases",
    "admins": "admins",
    "admin_database": "adminDatabase",
    "sasl": "sasl",
    "tls": "tls",
    "broker_ports": "brokerPorts",
    "broker_hosts": "brokerHosts",
    "advertised_host": "advertisedHost",
    "advertised_port": "advertisedPort",
}


def check_listener(kinds: Kinds):
    """The check of Listener objects; it knows protocols by what the families registered."""

    def check(listener: Authored, world: World) -> Iterator[Problem]:
        spec = listener.spec
        protocol = kinds.protocols.get(spec.protocol)
        if protocol is None:
            yield listener.problem("spec.protocol", f"there is no protocol {spec.protocol!r}", suggest(spec.protocol, kinds.protocols))
            return
        if not any(world.get(kind, spec.backend) for kind in protocol.also):
            yield from reference(listener, "spec.backend", protocol.backend, spec.backend, world)
        for name, alias in _OPTIONAL_FIELDS.items():
            if name in spec.model_fields_set and name not in protocol.fields:
                yield listener.problem(f"spec.{alias}", f"means nothing to protocol {spec.protocol}", "remove it")
        if spec.auth is not None and "auth" in protocol.fields and spec.auth not in protocol.auths:
            advice = f"write one of {', '.join(sorted(protocol.auths))}"
            yield listener.problem("spec.auth", f"{spec.auth} means nothing to protocol {spec.protocol}", advice)
        if spec.socket_mode is not None and unix_path(spec.address) is None:
            yield listener.problem("spec.socketMode", "is for an address in the file system", "remove it, or write unix:/PATH")
        yield from _tls(listener)
        yield from _users(listener)
        yield from _addresses(listener, world)
        yield from protocol.check(listener, world)

    return check


def check_listeners(rule: Authored, world: World) -> Iterator[Problem]:
    """A rule names the listeners it is for."""
    for index, name in enumerate(rule.spec.listeners):
        if name != ALL_LISTENERS:
            yield from reference(rule, f"spec.listeners[{index}]", "Listener", name, world)


def check_rate_limit(kinds: Kinds):
    """The check of RateLimit objects: some protocols can throttle."""

    def check(limit: Authored, world: World) -> Iterator[Problem]:
        yield from check_listeners(limit, world)
        for index, named in enumerate(limit.spec.listeners if limit.spec.limit.throttles else []):
            listeners = [listener for listener in world.all("Listener") if named in (ALL_LISTENERS, listener.name)]
            protocols = {listener.name: kinds.protocols.get(listener.spec.protocol) for listener in listeners}
            for name, protocol in protocols.items():
                if protocol is not None and not protocol.throttles:
                    reason = f"Listener {name} speaks {protocol.name}, which has nothing to throttle clients with, and no limits of bytes"
                    yield limit.problem(f"spec.listeners[{index}]", reason, "limit requests with over: refuse, or name other listeners")

    return check


def no_check(found: Authored, world: World) -> Iterator[Problem]:
    yield from ()


def _tls(listener: Authored) -> Iterator[Problem]:
    tls = listener.spec.tls
    if tls is None:
        return
    if tls.key_from is None and tls.cert_from.secret is None:
        yield listener.problem("spec.tls", "has a certificate without its key", "add keyFrom")
    if tls.require_client_cert and tls.client_ca_from is None:
        yield listener.problem("spec.tls.requireClientCert", "needs to know which client certificates are good", "add clientCaFrom")


def _users(listener: Authored) -> Iterator[Problem]:
    spec = listener.spec
    if spec.auth in ("password", "md5", "scram"):
        if not spec.users:
            yield listener.problem("spec.auth", f"{spec.auth} without users lets nobody in", "list users with passwordFrom")
        for index, user in enumerate(spec.users):
            if user.password_from is None:
                yield listener.problem(f"spec.users[{index}]", f"{spec.auth} needs a password for {user.name}", "add passwordFrom")
    if spec.auth == "cert" and (spec.tls is None or spec.tls.client_ca_from is None):
        yield listener.problem("spec.auth", "cert needs TLS with client certificates", "add tls with clientCaFrom")
    if spec.auth is None and not spec.users and not is_local(spec.address):
        yield from _open_to_others(listener)


def _open_to_others(listener: Authored) -> Iterator[Problem]:
    """Trust is the default on loopback only, for protocols where the mesh itself authenticates clients."""
    spec = listener.spec
    if spec.protocol in ("postgres", "mysql"):
        reason = f"{spec.address} can be reached from other machines, and no auth is given"
        yield listener.problem("spec.address", reason, "add auth (trust, if that is meant), or listen on 127.0.0.1")


def is_local(address: str) -> bool:
    """Nobody beyond this machine can connect."""
    if unix_path(address) is not None:
        return True
    where = parse_host_port(address)
    return where.host == "localhost" or ip_address(where.host).is_loopback


def _addresses(listener: Authored, world: World) -> Iterator[Problem]:
    """Two listeners on one port: the later one is blamed, in the order of the set."""
    for other in world.all("Listener"):
        if other is listener:
            return
        path = unix_path(listener.spec.address)
        if path is not None and path == unix_path(other.spec.address):
            where = f"{other.document.file}:{other.document.line_of('spec.address')}"
            yield listener.problem("spec.address", f"{path} is taken by Listener {other.name} ({where})", "choose another")
        port = _collision(listener, other)
        if port:
            where = f"{other.document.file}:{other.document.line_of('spec.address')}"
            field = "spec.address" if port == parse_host_port(listener.spec.address).port else "spec.brokerPorts"
            yield listener.problem(field, f"port {port} is taken by Listener {other.name} ({where})", "choose another")


def _collision(one: Authored, other: Authored) -> int:
    """A port both want on overlapping addresses, or 0."""
    if unix_path(one.spec.address) or unix_path(other.spec.address):
        return 0
    here, there = parse_host_port(one.spec.address), parse_host_port(other.spec.address)
    if not _overlap(here.host, there.host):
        return 0
    mine, theirs = one.spec.broker_port_range, other.spec.broker_port_range
    if here.port and (here.port == there.port or here.port in theirs):
        return here.port
    if there.port and there.port in mine:
        return there.port
    first = max(mine.start, theirs.start)
    return first if mine and theirs and first < min(mine.stop, theirs.stop) else 0


def _overlap(one: str, other: str) -> bool:
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one, other)}
    return len(hosts) == 1 or any(ip_address(host).is_unspecified for host in hosts)
