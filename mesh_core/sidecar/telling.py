"""What this sidecar tells its control planes: metrics that a family has registered, while an object is in force that needs them."""

import uuid
from collections.abc import Iterable

from google.protobuf.message import Message

from mesh_core._dataplane import Dataplane
from mesh_core.registry import Registry
from xds.client.reports import Reports
from xds.messages import message
from xds.protocol.client import Held


class Telling:
    """One per process."""

    def __init__(self, dataplane: Dataplane, registry: Registry, node: str, workers: int) -> None:
        self._dataplane = dataplane
        self._registry = registry
        self._prefixes: tuple[str, ...] = ()
        self._who = {"node": node, "instance": uuid.uuid4().hex, "workers": workers}
        self.reports = Reports(self._report)

    def configure(self, resources: Iterable[Held]) -> None:
        """What is in force now."""
        self._prefixes = self._registry.reported(resources)
        self.reports.want(bool(self._prefixes))

    def _report(self) -> Message:
        report = message("midstream.status.v1.Report")(**self._who)
        for line in self._dataplane.metrics().splitlines():
            if line.startswith(self._prefixes):
                series, _, value = line.rpartition(" ")
                report.series[series] = float(value)
        return report
