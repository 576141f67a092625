"""What a sidecar's load reports say, from the counters that its workers keep anyway.

One `ClusterStats` for each listener that has requests: `cluster_name` is its back end, `cluster_service_name` the listener.

    total_issued_requests, total_successful_requests, total_error_requests     requests; those that ended with an error of the mesh or of a server
    dropped_requests[], total_dropped_requests                                 refused by a rule (access, limits, logins), by kind
    load_metric_stats[]                                                        request_seconds (count and sum); errors.KIND, as metrics name kinds
"""

import re
from collections.abc import Iterable, Iterator

from google.protobuf.message import Message

from mesh_core._dataplane import Dataplane
from xds.messages import message, message_of
from xds.protocol.client import Held
from xds.protocol.types import LISTENER

# Kinds of `midstream_errors_total` that say no: of Redis, of Kafka, SQLSTATEs. The others went wrong.
REFUSALS = frozenset(
    (
        "denied",
        "refused",
        "auth",
        "protocol",
        "limited",
        "unauthenticated",
        "record_policy",
        "not_supported",
        "42501",
        "0A000",
        "53400",
        "28000",
        "28P01",
    )
)

_SERIES = re.compile(r"^(midstream_(?:requests_total|errors_total|request_seconds_sum|request_seconds_count))\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Counts = dict[tuple[str, str], float]  # what, of which kind -> how much


class Loads:
    """One per process."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane
        self._backends: dict[str, str] = {}  # by listener
        self._before: dict[str, Counts] = {}

    def configure(self, resources: Iterable[Held]) -> None:
        """What is in force now."""
        self._backends = {held.name: _backend(held) for held in resources if held.type_url == LISTENER}

    def count(self, wanted: set[str] | None) -> Iterator[Message]:
        """Of the time since the call before; of the back ends that are wanted, None: of all."""
        before, self._before = self._before, _read(self._dataplane.metrics())
        for listener, counts in sorted(self._before.items()):
            backend = self._backends.get(listener)
            if backend is None or (wanted is not None and backend not in wanted):
                continue
            earlier = before.get(listener, {})
            grown = {key: more for key, value in counts.items() if (more := value - earlier.get(key, 0)) > 0}
            yield _stats(backend, listener, grown)


def _read(metrics: str) -> dict[str, Counts]:
    """By listener."""
    found: dict[str, Counts] = {}
    for line in metrics.splitlines():
        if (series := _SERIES.match(line)) is None:
            continue
        labels = dict(_LABEL.findall(series[2]))
        counts = found.setdefault(labels.get("listener", ""), {})
        key = (series[1].removeprefix("midstream_"), labels.get("kind", ""))
        counts[key] = counts.get(key, 0) + float(series[3])
    return found


def _stats(backend: str, listener: str, grown: Counts) -> Message:
    stats = message("envoy.config.endpoint.v3.ClusterStats")(cluster_name=backend, cluster_service_name=listener)
    errors = {kind: int(count) for (what, kind), count in sorted(grown.items()) if what == "errors_total"}
    for kind, count in errors.items():
        if kind in REFUSALS:
            stats.dropped_requests.add(category=kind, dropped_count=count)
    stats.total_dropped_requests = sum(dropped.dropped_count for dropped in stats.dropped_requests)
    traffic = stats.upstream_locality_stats.add()
    issued = int(grown.get(("requests_total", ""), 0))
    failed = sum(errors.values()) - stats.total_dropped_requests
    traffic.total_issued_requests = issued
    traffic.total_error_requests = failed
    traffic.total_successful_requests = max(0, issued - failed)
    timed = int(grown.get(("request_seconds_count", ""), 0))
    if timed:
        seconds = grown.get(("request_seconds_sum", ""), 0)
        traffic.load_metric_stats.add(metric_name="request_seconds", num_requests_finished_with_metric=timed, total_metric_value=seconds)
    for kind, count in errors.items():
        traffic.load_metric_stats.add(metric_name=f"errors.{kind}", num_requests_finished_with_metric=count, total_metric_value=count)
    return stats


def _backend(listener: Held) -> str:
    """The object that a listener leads to, as its filter names it."""
    skeleton = message("envoy.config.listener.v3.Listener").FromString(listener.value)
    for chain in skeleton.filter_chains:
        for found in chain.filters:
            try:
                settings = message_of(found.typed_config.type_url).FromString(found.typed_config.value)
            except KeyError:
                continue
            for field in ("backend", "database", "cluster"):
                if field in settings.DESCRIPTOR.fields_by_name and isinstance(getattr(settings, field), str):
                    return getattr(settings, field)
    return listener.name
