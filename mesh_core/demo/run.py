"""The director: builds the stage, lets the shop work, plays scene by scene, keeps count of promises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.live import Live

from mesh_core.lab import LabError

from . import scenes
from .ledger import Ledger
from .scene import Play, Promise, Scene
from .shop import Shop, classify
from .show import Narrator, Screen, kept_promises, operations, summary
from .stage import KafkaChoice, Stage

KEPT, BROKEN, INTERRUPTED = 0, 1, 130
PAGE_WIDTH = 150  # of output that goes to a file: wide enough for the summary and most errors
REFRESHES_PER_S = 4
ROWS_EVERY_S = 1.0


class Director:
    """One run of the demo. `run` returns the exit status: 0 when every promise was kept."""

    def __init__(self, console: Console, *, keep: bool, shards: int, kafka: KafkaChoice) -> None:
        self._console, self._keep = console, keep
        self._stage = Stage(shards, kafka)
        self._ledger = Ledger(classify)
        self._narrator = Narrator(console)
        self._screen = Screen(self._ledger, self._narrator, lambda: self._title)
        self._title = ""
        self._promises: list[Promise] = []

    async def run(self) -> int:
        started = time.monotonic()
        try:
            await self._build()
            async with self._shop() as shop:
                await self._play(Play(self._stage, shop, self._ledger, self._narrator))
                status = await self._sum_up(time.monotonic() - started)
                if self._keep:
                    await self._wait_for_the_end()
            return status
        except Exception as error:
            if not isinstance(error, LabError):  # whose message says it all
                self._console.print_exception()
            self._console.print(f"\n{error}", style="red", markup=False, highlight=False)
            self._show_logs()
            return BROKEN
        finally:
            await asyncio.to_thread(self._stage.close)

    async def _build(self) -> None:
        started = time.monotonic()
        self._console.print("starting PostgreSQL shards, a cache cluster of 3 + 3, brokers, a control plane and a sidecar ...")
        await self._stage.build()
        kafka = "a real Kafka" if self._stage.kafka.is_real else "librdkafka's mock brokers"
        self._console.print(f"ready after {time.monotonic() - started:.1f} s, with {kafka}")

    @contextlib.asynccontextmanager
    async def _shop(self) -> AsyncIterator[Shop]:
        self._ledger.begin(scenes.in_order()[0].name)
        shop = Shop(self._stage.addresses, self._ledger)
        await shop.start()
        try:
            yield shop
        finally:
            await shop.stop()

    async def _play(self, play: Play) -> None:
        order = scenes.in_order()
        async with self._on_screen():
            for number, scene in enumerate(order, start=1):
                self._title = f"{number}/{len(order)}  {scene.title}"
                self._ledger.begin(scene.name)
                if not self._console.is_terminal:
                    self._console.print(f"\n{self._title}", style="bold", markup=False, highlight=False)
                await self._one(scene, play)

    async def _one(self, scene: Scene, play: Play) -> None:
        """A scene that can't be played to its end has broken its promise; the next ones are played all the same."""
        try:
            await scene.act(play)
            promises = [*await scene.promises(play), *scene.unharmed(self._ledger)]
        except Exception as error:
            promises = [Promise("the scene could be played", False, f"{type(error).__name__}: {error}")]
        self._promises += promises
        self._console.print(kept_promises(scene.title if self._console.is_terminal else "", promises))

    async def _sum_up(self, seconds: float) -> int:
        self._console.print(summary(self._ledger, await self._stage.rows_per_shard()))
        broken = [promise for promise in self._promises if not promise.kept]
        if broken:
            self._console.print(kept_promises("Broken", broken))
        verdict = f"{len(self._promises) - len(broken)} of {len(self._promises)} promises kept, {seconds:.0f} s"
        self._console.print(f"\n{verdict}", style="bold red" if broken else "bold green")
        if broken:
            self._show_logs()
        return BROKEN if broken else KEPT

    async def _wait_for_the_end(self) -> None:
        for line in self._stage.addresses_to_play_with():
            self._console.print(line, markup=False, highlight=False)
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()

    @contextlib.asynccontextmanager
    async def _on_screen(self) -> AsyncIterator[None]:
        counting = asyncio.create_task(self._count_rows())
        live = Live(self._screen, console=self._console, refresh_per_second=REFRESHES_PER_S, transient=True)
        with live if self._console.is_terminal else contextlib.nullcontext():
            try:
                yield
            finally:
                counting.cancel()

    async def _count_rows(self) -> None:
        while True:
            self._screen.rows = await self._stage.rows_per_shard()
            await asyncio.sleep(ROWS_EVERY_S)

    def _show_logs(self) -> None:
        self._console.print(operations(self._ledger.here()))
        for process in (self._stage.control.process, self._stage.sidecar.process):
            self._console.print(f"\n--- the last lines of {process.name}", style="bold")
            self._console.print(process.log_tail(), markup=False, highlight=False)


def play(*, keep: bool, shards: int, kafka: KafkaChoice) -> int:
    for library in ("aiokafka", "asyncpg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they log every lost connection; the ledger counts them
    console = Console()
    if not console.is_terminal:
        console = Console(width=PAGE_WIDTH)
    try:
        return asyncio.run(Director(console, keep=keep, shards=shards, kafka=kafka).run())
    except KeyboardInterrupt:
        return INTERRUPTED
