"""The words of the scenarios: types by their nouns, resources as `name` or `name=content`."""

from __future__ import annotations

import re

from xds.messages import message
from xds.protocol import types
from xds.protocol.resource import Resource

TYPES = {
    "cluster": types.CLUSTER,
    "endpoints": types.ENDPOINTS,
    "listener": types.LISTENER,
    "route": types.ROUTE,
    "virtual-host": types.VIRTUAL_HOST,
    "secret": types.SECRET,
    "runtime": types.RUNTIME,
    "extension": types.EXTENSION,
    "rule": "type.googleapis.com/midstream.policy.v1.RateLimit",
}
# What a client waits for after it was given one of these under the same name.
WARMS = {types.CLUSTER: types.ENDPOINTS, types.LISTENER: types.ROUTE}

SERVICES = {
    "cluster": ("cluster.v3.ClusterDiscoveryService", "Clusters"),
    "endpoints": ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    "listener": ("listener.v3.ListenerDiscoveryService", "Listeners"),
    "route": ("route.v3.RouteDiscoveryService", "Routes"),
    "virtual-host": ("route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
    "secret": ("secret.v3.SecretDiscoveryService", "Secrets"),
    "runtime": ("runtime.v3.RuntimeDiscoveryService", "Runtime"),
    "extension": ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
    "": ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources"),
}

_WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"


def resources(text: str) -> list[Resource]:
    """`cluster a, rule b=2 for 0.5 s` -> resources; `nothing` -> none."""
    found = []
    for one in [] if text == "nothing" else text.split(", "):
        noun, _, rest = one.partition(" ")
        thing, _, ttl = rest.partition(" for ")
        name, content = named(thing)
        url = TYPES[noun]
        warms = ((WARMS[url], name),) if url in WARMS else ()
        found.append(Resource(url, name, content_of(name, content), warms=warms, ttl_s=float(ttl.removesuffix(" s") or 0)))
    return found


def contents(text: str) -> dict[str, str]:
    """`a, b=2` -> {"a": "1", "b": "2"}."""
    return dict(named(one) for one in text.split(", "))


def named(text: str) -> tuple[str, str]:
    """The name and content of `b=2`. An `=` behind a question mark belongs to the name."""
    found = re.fullmatch(r"([^=?]+)=([^=?]+)", text)
    return (found[1], found[2]) if found else (text, "1")


def content_of(name: str, content: str) -> bytes:
    """A state-of-the-world response does not tell names, so contents do. The server looks into neither."""
    return f"{name} is {content}".encode()


class Heard:
    """A response of either variant, read as a client reads it."""

    def __init__(self, response):
        self.response = response
        self.type_url = response.type_url
        self.contents: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.ttl_s: dict[str, float] = {}
        self.heartbeats: list[str] = []
        self.removed = list(getattr(response, "removed_resources", ()))
        self.errors = {error.resource_name.name: (error.error_detail.code, error.error_detail.message) for error in response.resource_errors}
        for item in response.resources:
            if hasattr(item, "resource"):
                self._wrapped(item)
            elif item.type_url == _WRAPPER:
                self._wrapped(message("envoy.service.discovery.v3.Resource").FromString(item.value))
            else:
                self._content(item.value)

    def _wrapped(self, item) -> None:
        self.versions[item.name] = item.version
        if item.HasField("ttl"):
            self.ttl_s[item.name] = item.ttl.seconds + item.ttl.nanos / 1e9
        if item.HasField("resource"):
            self._content(item.resource.value)
        else:
            self.heartbeats.append(item.name)

    def _content(self, value: bytes) -> None:
        name, _, content = value.rstrip(b"\0").decode().partition(" is ")
        assert name not in self.contents, f"{name} comes twice (S7)"
        self.contents[name] = content

    def __repr__(self) -> str:
        said = {"contents": self.contents, "removed": self.removed, "errors": self.errors, "heartbeats": self.heartbeats}
        return f"{self.type_url.rpartition('.')[2]} { ({key: value for key, value in said.items() if value}) }"
