"""The sidecar process, from start to drained."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mesh_core._dataplane import Dataplane
from mesh_core.model.problem import Invalid
from mesh_core.probing import Probing
from mesh_core.registry import Registry
from mesh_core.sidecar.admin import Admin
from mesh_core.sidecar.brain import Brain
from mesh_core.sidecar.secrets import SecretFiles
from mesh_core.sidecar.state import State, keyed
from xds.client.credentials import NONE, Credentials
from xds.protocol.client import Held, Key

log = structlog.get_logger()

EXIT_OK = 0
EXIT_BAD_CONFIGURATION = 2

# The access log is handed to stdout this often; the native queue is bounded and drops, counted, when it is full.
LOG_EVERY_S = 0.25


@dataclass(frozen=True)
class Options:
    """What the command line says. Exactly one of ``config`` and ``control`` is given."""

    config: Path | None
    control: list[str]
    node: str
    workers: int
    admin_host: str
    admin_port: int
    state_folder: Path
    drain_s: float
    credentials: Credentials = NONE
    labels: Mapping[str, str] = field(default_factory=dict)


def default_state_folder() -> Path:
    """``$MIDSTREAM_STATE``, else the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(os.environ.get("MIDSTREAM_STATE") or Path(base) / "midstream")


class Sidecar:
    """One run."""

    def __init__(self, options: Options, registry: Registry) -> None:
        self._options = options
        self._registry = registry
        self._stop = asyncio.Event()
        self._announced = False
        self._configured: dict[Key, Held] = {}

    async def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit code."""
        options = self._options
        dataplane = Dataplane(options.workers)
        brain = Brain(dataplane, self._registry)
        brain.start()
        self._state = State(dataplane, brain, SecretFiles(dataplane), options.node)
        self._probing = Probing(self._registry, self._put_in_force)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            if options.config is not None:
                self._read_files()
                loop.add_signal_handler(signal.SIGHUP, self._reload)
        except Invalid as error:
            print(error, file=sys.stderr)
            return EXIT_BAD_CONFIGURATION
        try:
            await self._serve(Admin(self._state, options.admin_host, options.admin_port))
        except OSError as error:
            print(f"midstream sidecar: {error}", file=sys.stderr)
            return EXIT_BAD_CONFIGURATION
        await asyncio.to_thread(dataplane.drain, options.drain_s)
        self._print_log()
        await brain.close()
        return EXIT_OK

    async def _serve(self, admin: Admin) -> None:
        await admin.bind()
        tasks = [asyncio.create_task(admin.serve()), asyncio.create_task(self._write_log()), asyncio.create_task(self._state.secrets.run())]
        if self._options.control:
            tasks.append(asyncio.create_task(self._follow()))
        else:
            tasks.append(asyncio.create_task(self._probing.run()))
            self._announce()
        stopped = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopped):
            task.cancel()
        for task in done - {stopped}:
            task.result()  # a task that ends by itself has failed
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        # gRPC is an eighth of the process's memory; a sidecar with files does without it.
        from mesh_core.sidecar.follow import Follower
        from mesh_core.sidecar.last_good import LastGood
        from mesh_core.sidecar.telling import Telling
        from xds.client.ads import Place

        options = self._options
        last_good = LastGood(options.state_folder / f"{options.node}.json")
        telling = Telling(self._state.dataplane, self._registry, options.node, options.workers)
        place, credentials = Place(os.environ.get("MIDSTREAM_ZONE", ""), options.labels), options.credentials
        follower = Follower(
            self._state, last_good, options.control, options.node, self._announce, place=place, telling=telling, credentials=credentials
        )
        await follower.run()

    def _read_files(self) -> None:
        from mesh_core.control.config import load

        path = self._options.config
        assert path is not None
        configuration = load(path, self._registry.kinds)
        self._configured = keyed(configuration.held())
        refusals = self._state.apply((self._configured | self._probing.configure(self._configured.values())).values(), f"file {path}")
        if refusals:
            raise Invalid(configuration.blame.problem(refusal) for refusal in refusals)

    def _put_in_force(self, seen: dict[Key, Held]) -> None:
        for refused in self._state.apply((self._configured | seen).values(), self._state.origin):
            log.error("what was probed is not taken", name=refused.name, reason=refused.reason)

    def _reload(self) -> None:
        try:
            self._read_files()
        except Invalid as error:
            log.error("the changed configuration is not taken, or in part; what was good before stays in force", reason=str(error))

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            print(f"midstream sidecar ready: {self._state.listening()} (configuration from {self._state.origin})", flush=True)

    async def _write_log(self) -> None:
        while True:
            await asyncio.sleep(LOG_EVERY_S)
            self._print_log()

    def _print_log(self) -> None:
        lines = self._state.dataplane.take_log()
        if lines:
            print(*lines, sep="\n", flush=True)


def main(options: Options, registry: Registry) -> int:
    """Runs a sidecar in the foreground. Returns the exit code: 0 drained, 2 bad configuration."""
    # Two descriptors per client; the soft limit of 1,024 that most systems start a process with would be reached with 500.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asyncio.run(Sidecar(options, registry).run())
