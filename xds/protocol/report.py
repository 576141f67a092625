"""What a NACK says of each resource.

Our sidecars put a `midstream.status.v1.ApplyReport` into the details of the error: the resources it names were refused, the others of the same
response are in force. Any other client has one text for the whole response, and which of its resources it applied is not known.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message

from xds.messages import message, type_url
from xds.protocol.resource import Resource

REPORT_URL = type_url("midstream.status.v1.ApplyReport")

# google.rpc.Code.INVALID_ARGUMENT: the resource was understood and refused.
INVALID_ARGUMENT = 3

# Of a peer's reason we keep this much: Envoy's begin with a kilobyte of debug string.
MAX_REASON_CHARS = 4000

_CONSTRAINT = re.compile(r"\w+ValidationError\.(\w+)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Refused:
    """One resource a client did not take. `field` is the path in the resource, empty where the client did not say."""

    type_url: str
    name: str
    version: str
    field: str
    reason: str


def refusals_of(error: Message, type_url: str, resources: Iterable[Resource]) -> dict[str, Refused]:
    """Name to refusal, of the resources of one response that a client refused with `error`, a google.rpc.Status."""
    sent = {resource.name: resource for resource in resources}
    report = _report_in(error)
    if report is None:
        reason = _readable(error.message)[:MAX_REASON_CHARS]
        return {name: Refused(type_url, name, resource.version, "", reason) for name, resource in sent.items()}
    refused = {}
    for item in report.refusals:
        if item.name in sent and item.type_url in ("", type_url):
            version = item.version or sent[item.name].version
            refused[item.name] = Refused(type_url, item.name, version, item.field, item.reason[:MAX_REASON_CHARS])
    return refused


def names_the_refused(error: Message) -> bool:
    """It says of each resource whether it is meant; otherwise one of the response is, or several."""
    return any(detail.type_url == REPORT_URL for detail in error.details)


def field_in(reason: str) -> str:
    """The path of the field in a reason as Envoy words it: "ClusterValidationError.ConnectTimeout: value must be ..."; "" where there is none."""
    return ".".join(_CAMEL.sub("_", step).lower() for step in _CONSTRAINT.findall(reason))


def _readable(reason: str) -> str:
    """Envoy shows the whole resource before it says what is wrong with it."""
    return reason.rpartition("\n: ")[2] if reason.startswith("goo.gle/debug") else reason


def error_of(refusals: Iterable[Refused]) -> Message:
    """The google.rpc.Status of a NACK: one sentence for people and foreign servers, the report for ours."""
    status = message("google.rpc.Status")(code=INVALID_ARGUMENT)
    report = message("midstream.status.v1.ApplyReport")()
    sentences = []
    for item in refusals:
        report.refusals.add(type_url=item.type_url, name=item.name, version=item.version, field=item.field, reason=item.reason)
        at = f" at {item.field}" if item.field else ""
        sentences.append(f"{item.type_url.rpartition('.')[2]} {item.name}{at}: {item.reason}")
    status.message = "; ".join(sentences)[:MAX_REASON_CHARS]
    status.details.add(type_url=REPORT_URL, value=report.SerializeToString())
    return status


def _report_in(error: Message) -> Message | None:
    for detail in error.details:
        if detail.type_url == REPORT_URL:
            try:
                return message("midstream.status.v1.ApplyReport").FromString(detail.value)
            except DecodeError:
                return None
    return None
