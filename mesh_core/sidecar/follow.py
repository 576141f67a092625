"""A sidecar that takes its configuration from a control plane.

It starts from the last good set when no control plane answers within a second, and goes on with what it has when the control plane is
lost later. What was refused for a local reason (an address in use, a secret missing) is asked for again until it is taken.
"""

import asyncio
from collections.abc import Callable

import structlog

from mesh_core.compile.types import SIDECAR_TYPES
from mesh_core.sidecar import prepare
from mesh_core.sidecar.last_good import Damaged, LastGood
from mesh_core.sidecar.loads import Loads
from mesh_core.sidecar.state import State, keyed
from mesh_core.sidecar.telling import Telling
from xds.client.ads import NOWHERE, AdsClient, Beside, Place
from xds.client.credentials import NONE, Credentials
from xds.client.loads import LoadReports
from xds.protocol.client import Held, Key, Update
from xds.protocol.prepared import PREPARED
from xds.protocol.report import Refused

log = structlog.get_logger()

# A control plane on the same network answers within milliseconds; a sidecar that waits longer delays its application's start.
ANSWER_WITHIN_S = 1.0
# Local reasons pass when somebody mends them; nobody wants to wait longer than this, and one attempt costs a few milliseconds.
RETRY_REFUSED_S = 5.0


class Follower:
    """Keeps a state equal to what the control planes say.

    :param targets: gRPC addresses, tried in turn.
    :param on_force: called after each change that came into force.
    :param place: where this sidecar runs.
    :param telling: what the control planes are told of this sidecar.
    :param credentials: what it shows to them.
    """

    def __init__(
        self,
        state: State,
        last_good: LastGood,
        targets: list[str],
        node: str,
        on_force: Callable[[], None],
        *,
        place: Place = NOWHERE,
        telling: Telling | None = None,
        credentials: Credentials = NONE,
    ) -> None:
        self._telling = telling
        self._loads = Loads(state.dataplane)
        self._state = state
        self._last_good = last_good
        self._on_force = on_force
        self._offered: dict[Key, Held] | None = None  # None until a control plane has said everything once
        beside: list[Beside] = [lambda node: LoadReports(node, self._loads.count)]
        if telling is not None:
            reports = telling.reports
            beside.append(lambda node: reports)
        self._client = AdsClient(
            targets, node, SIDECAR_TYPES, self._on_update, on_connection=self._on_connection, beside=beside, place=place, credentials=credentials
        )
        self._target = targets[0]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._client.run())
            tasks.create_task(self._fall_back())
            tasks.create_task(self._retry_refused())

    async def _on_update(self, update: Update) -> list[Refused]:
        offered = {} if self._offered is None else dict(self._offered)
        offered.update(update.changed)
        for key in update.removed:
            offered.pop(key, None)
        first = self._offered is None
        self._offered = offered
        refusals = prepare.refusals(offered, update.changed)
        if first or any(url != PREPARED for url, _ in (*update.changed, *update.removed)):
            refusals += self._apply(prepare.without_prepared(offered.values()), f"control plane {self._target}")
            self._save()
        return refusals

    def _apply(self, resources: list[Held], origin: str) -> list[Refused]:
        refusals = self._state.apply(resources, origin)
        for refused in refusals:
            log.warning("resource refused", type=refused.type_url.rpartition("/")[2], name=refused.name, field=refused.field, reason=refused.reason)
        if self._telling is not None:
            self._telling.configure(self._state.resources)
        self._loads.configure(self._state.resources)
        self._on_force()
        return refusals

    def _save(self) -> None:
        # What has a TTL holds no longer than a control plane renews it, so it is nothing to start from.
        mortal = self._client.machine.expiries
        try:
            self._last_good.save([held for held in self._state.resources if (held.type_url, held.name) not in mortal])
        except OSError as error:
            log.error("the last good configuration cannot be saved; a restart without a control plane would fail", reason=str(error))

    async def _fall_back(self) -> None:
        await asyncio.sleep(ANSWER_WITHIN_S)
        if self._offered is not None:
            return
        try:
            saved = self._last_good.load()
        except (Damaged, OSError) as error:
            log.error("the last good configuration cannot be used", reason=str(error))
            return
        if saved is None:
            log.warning("no control plane answers and no last good configuration exists; waiting", control=self._target)
            return
        self._apply(list(keyed(saved).values()), f"last good {self._last_good.path}")
        self._state.stale = True

    async def _retry_refused(self) -> None:
        while True:
            await asyncio.sleep(RETRY_REFUSED_S)
            names: dict[str, list[str]] = {}
            for refused in self._state.refusals:
                names.setdefault(refused.type_url, []).append(refused.name)
            for url, refused_names in names.items():
                self._client.refresh(url, refused_names)

    def _on_connection(self, target: str | None) -> None:
        if target is None:
            self._state.stale = self._state.ready
        else:
            self._target = target
            self._state.stale = self._offered is None and self._state.ready
