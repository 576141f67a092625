"""A client and its server stream, without a network: what a test says and hears, in a few words."""

from xds.messages import message
from xds.protocol.delta import DeltaStream
from xds.protocol.resource import Resource, Snapshot
from xds.protocol.sotw import SotwStream
from xds.protocol.types import CLUSTER, ENDPOINTS, LISTENER

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "RULE", "Delta", "Sotw", "resource", "snapshot"]

RULE = "type.googleapis.com/midstream.policy.v1.RateLimit"


def resource(type_url: str, name: str, content: str = "1", *, warms: tuple[tuple[str, str], ...] = ()) -> Resource:
    """The content stands for any message: the server never looks inside."""
    return Resource(type_url, name, content.encode(), warms=warms)


def snapshot(*resources: Resource, after: Snapshot | None = None) -> Snapshot:
    return Snapshot(resources, previous=after)


class _Peer:
    """`hear` gives all responses that are due; `ack` and `nack` answer one of them."""

    def __init__(self, stream, request: str, response: str):
        self.stream = stream
        self._request = message(request)
        self._response = message(response)

    def offer(self, *resources: Resource) -> None:
        self.stream.offer(snapshot(*resources, after=self.stream.snapshot))

    def hear(self) -> list:
        heard = []
        while (frame := self.stream.poll()) is not None:
            heard.append(self._response.FromString(frame))
        return heard

    def hear_one(self):
        (response,) = self.hear()
        return response

    def send(self, type_url: str, **fields):
        return self.stream.receive(self._request(type_url=type_url, **fields))


class Delta(_Peer):
    def __init__(self, *resources: Resource):
        prefix = "envoy.service.discovery.v3.DeltaDiscovery"
        super().__init__(DeltaStream(snapshot(*resources)), prefix + "Request", prefix + "Response")

    def subscribe(self, type_url: str, *names: str, **fields):
        return self.send(type_url, resource_names_subscribe=names, **fields)

    def unsubscribe(self, type_url: str, *names: str, **fields):
        return self.send(type_url, resource_names_unsubscribe=names, **fields)

    def ack(self, response, **fields):
        return self.send(response.type_url, response_nonce=response.nonce, **fields)

    def nack(self, response, reason: str, **fields):
        return self.send(response.type_url, response_nonce=response.nonce, error_detail={"code": 3, "message": reason}, **fields)


class Sotw(_Peer):
    def __init__(self, *resources: Resource):
        prefix = "envoy.service.discovery.v3.Discovery"
        super().__init__(SotwStream(snapshot(*resources)), prefix + "Request", prefix + "Response")

    def subscribe(self, type_url: str, *names: str, **fields):
        return self.send(type_url, resource_names=names, **fields)

    def ack(self, response, *names: str, **fields):
        return self.send(response.type_url, resource_names=names, response_nonce=response.nonce, version_info=response.version_info, **fields)

    def nack(self, response, reason: str, *names: str, version: str = ""):
        detail = {"code": 3, "message": reason}
        return self.send(response.type_url, resource_names=names, response_nonce=response.nonce, version_info=version, error_detail=detail)


def names(response) -> list[str]:
    """The names in a delta response."""
    return [item.name for item in response.resources]


def contents(response) -> list[str]:
    """The contents in a response of either variant."""
    return [getattr(item, "resource", item).value.decode() for item in response.resources]
