"""kill -9 of the control plane: traffic goes on. And a sidecar restarted without it serves from its last good set."""

import asyncio
import time
from dataclasses import replace

from ..ledger import Ledger
from ..scene import Play, Promise, Scene

WATCH_S = 3.0
OPERATIONS = ("sql place order", "sql orders of customer", "cache cart", "kafka order event")


class ControlPlaneDies(Scene):
    name = "control plane dies"
    title = "The control plane is killed, then the sidecar restarted without it"

    async def act(self, play: Play) -> None:
        stage = play.stage
        stage.control.kill()
        play.tell("$ kill -9 the control plane")
        await play.watch(WATCH_S)
        [traffic] = super().unharmed(play.ledger)
        self.alone = replace(traffic, text="traffic went on without a control plane, without an error")
        play.tell("the sidecar is told to stop (it drains), and started again: nobody is there to configure it")
        self.status = await asyncio.to_thread(stage.sidecar.stop)
        started = time.monotonic()
        stage.sidecar.start()
        await asyncio.to_thread(stage.sidecar.wait_listening, stage.listening)
        self.ready_s = time.monotonic() - started
        play.tell(f"it listens after {self.ready_s:.1f} s, from its last good set")
        for operation in OPERATIONS:
            await play.works(operation)
        self.back_s = time.monotonic() - started

    def unharmed(self, ledger: Ledger) -> list[Promise]:
        """Looked at before the restart, which drops every connection."""
        return []

    async def promises(self, play: Play) -> list[Promise]:
        async with play.shop.stocktaking():
            rows = await play.stage.rows_per_shard()
            counted, _ = await play.shop.database.turnover()
        return [
            self.alone,
            Promise("the sidecar drained and ended with 0", self.status == 0, f"exit status {self.status}"),
            Promise("restarted alone, it served all three families from its last good set", True, f"{self.back_s:.1f} s"),
            Promise("the table was still sharded", counted == sum(rows) and all(rows), f"{counted} rows"),
        ]
