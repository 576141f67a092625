"""The control plane comes back with its objects, finds its sidecar, and rules can be pushed again."""

import asyncio

from ..objects import AFTER_RETURN, SHARDING
from ..scene import Play, Promise, Scene

WATCH_S = 2.0


class ControlPlaneReturns(Scene):
    name = "control plane returns"
    title = "The control plane comes back"

    async def act(self, play: Play) -> None:
        await asyncio.to_thread(play.stage.control.start)
        play.tell("$ midstream control")
        self.met_s = await play.until("the sidecar in midstream status", lambda: _connected(play))
        async with play.pushed(AFTER_RETURN) as self.pushed:
            await play.watch(WATCH_S)

    async def promises(self, play: Play) -> list[Promise]:
        return [
            Promise("the sidecar found it again, with everything acknowledged", True, f"after {self.met_s:.1f} s"),
            self.pushed,
        ]


async def _connected(play: Play) -> bool:
    states = await play.stage.control.states()
    return (SHARDING.kind, SHARDING.name) in states and all(found["state"] == "ACKED" for found in states.values())
