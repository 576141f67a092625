"""The client's side of a state-of-the-world ADS stream, for servers that have no delta."""

from collections.abc import Iterable

from google.protobuf.message import DecodeError, Message

from xds.messages import message, message_of, type_url
from xds.protocol.client import Client, Item, Response, item_of
from xds.protocol.types import COMPLETE_TYPES

_WRAPPER = type_url("envoy.service.discovery.v3.Resource")


class SotwClient(Client):
    """Of a stream of DiscoveryRequest and DiscoveryResponse."""

    def __init__(self, *args, **kwargs):
        self._versions: dict[str, str] = {}  # of each type, the last that was accepted; survives streams (C7)
        self._in_part: set[str] = set()  # types of which the last response was refused
        super().__init__(*args, **kwargs)

    def refresh(self, type_url: str, names: Iterable[str]) -> Message:
        """Only a name that is newly asked for must be sent (W3), and these are under the wildcard: there is nothing to ask for again."""
        return self._request(type_url)

    def _begin(self) -> None:
        super()._begin()
        self._nonces: dict[str, str] = {}  # they mean nothing on another stream (C7)
        for url in self._in_part:
            self._versions.pop(url, None)  # what was good of it is held: by the version before, a server would take too little for sent (W4)

    def _first(self, type_url: str, names: Iterable[str]) -> Message:
        """A server that has what was accepted last need not answer (W4), so it is not waited for."""
        if self._versions.get(type_url):
            self._unanswered.pop(type_url, None)
        return self._request(type_url)

    def _change(self, type_url: str, new: list[str], old: list[str]) -> Message:
        return self._request(type_url)

    def _request(self, type_url: str) -> Message:
        """Every request carries the whole subscription, the last accepted version and the newest nonce."""
        return message("envoy.service.discovery.v3.DiscoveryRequest")(
            type_url=type_url,
            resource_names=sorted(self._names.get(type_url, ())),
            version_info=self._versions.get(type_url, ""),
            response_nonce=self._nonces.get(type_url, ""),
        )

    def _read(self, response: Message, taken: Response) -> tuple[list[Item], list[str]]:
        url = response.type_url
        taken.version = response.version_info
        self._nonces[url] = response.nonce
        try:
            items = [_item(url, resource, response.version_info) for resource in response.resources]
        except (DecodeError, KeyError, ValueError) as error:
            taken.malformed = f"a resource cannot be read: {error}"
            return [], []
        present = {item.name for item in items}
        gone = [name for kind, name in self._offered if kind == url and name not in present] if url in COMPLETE_TYPES else []
        return items, gone

    def _answer(self, response: Response, error: Message | None) -> Message:
        """A NACK carries the version that was accepted before (C3)."""
        if error is not None:
            self._in_part.add(response.type_url)
        elif response.type_url in self._opened:
            self._in_part.discard(response.type_url)
            self._versions[response.type_url] = response.version
        request = self._request(response.type_url)
        request.response_nonce = response.nonce
        if error is not None:
            request.error_detail.CopyFrom(error)
        return request


def _item(url: str, resource: Message, version: str) -> Item:
    """A plain resource does not tell its name outside of its content. Raises DecodeError, KeyError, ValueError."""
    if resource.type_url == _WRAPPER:
        return item_of(message("envoy.service.discovery.v3.Resource").FromString(resource.value))
    if resource.type_url != url:
        raise ValueError(f"it is a {resource.type_url}")
    content = message_of(url).FromString(resource.value)
    return Item(getattr(content, "name", "") or getattr(content, "cluster_name", ""), version, resource.value)
