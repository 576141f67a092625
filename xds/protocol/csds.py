"""What a client has, as the Client Status Discovery Service tells it (C12)."""

from collections.abc import Iterable

from google.protobuf.message import Message

from xds.messages import enum_values, message
from xds.protocol.client import Held, Key
from xds.protocol.errors import ResourceError
from xds.protocol.report import Refused

_STATUS = "envoy.admin.v3.ClientResourceStatus"


def client_config(
    node: Message,
    held: Iterable[Held],
    refused: Iterable[Refused] = (),
    absent: Iterable[Key] = (),
    errors: Iterable[ResourceError] = (),
) -> Message:
    """An envoy.service.status.v3.ClientConfig, without contents, so that it can be shown to anyone. What was refused keeps the version that is in
    force beside the reason."""
    config = message("envoy.service.status.v3.ClientConfig")(node=node)
    rows: dict[Key, Message] = {}

    def row(url: str, name: str, status: str) -> Message:
        if (url, name) not in rows:
            rows[url, name] = config.generic_xds_configs.add(type_url=url, name=name)
        rows[url, name].client_status = enum_values(_STATUS)[status]
        return rows[url, name]

    for item in held:
        row(item.type_url, item.name, "ACKED").version_info = item.version
    for item in refused:
        found = row(item.type_url, item.name, "NACKED")
        found.error_state.details = f"{item.field}: {item.reason}" if item.field else item.reason
        found.error_state.version_info = item.version
    for url, name in absent:
        row(url, name, "DOES_NOT_EXIST")
    for error in errors:
        row(error.type_url, error.name, "RECEIVED_ERROR").error_state.details = error.text
    return config
