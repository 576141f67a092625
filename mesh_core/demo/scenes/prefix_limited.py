"""Reads of one key prefix are limited, by rule; other keys are not; then the rule is withdrawn."""

import time

from ..objects import LIMIT_BURST, LIMIT_PER_S, PREFIX_LIMITED
from ..scene import Play, Promise, Scene

WATCH_S = 4.0
CATALOG = "cache catalog"


class PrefixLimited(Scene):
    name = "prefix limited"
    title = f"Reads of `catalog:*` are limited to {LIMIT_PER_S} a second, then free again"
    tolerated = (CATALOG,)

    async def act(self, play: Play) -> None:
        catalog = play.ledger.tally(CATALOG)
        async with play.pushed(PREFIX_LIMITED) as self.pushed:
            await play.until("a refused read of the catalog", lambda: catalog.troubles["refused"] > 0)
            play.tell(f"catalog: {catalog.last_trouble}")
            done_before, started = catalog.done, time.monotonic()
            await play.watch(WATCH_S)
            self.passed, self.seconds = catalog.done - done_before, time.monotonic() - started
        self.refused = catalog.troubles["refused"]
        await play.works(CATALOG)

    async def promises(self, play: Play) -> list[Promise]:
        catalog, carts = play.ledger.tally(CATALOG), play.ledger.tally("cache cart")
        other = sum(count for trouble, count in catalog.troubles.items() if trouble != "refused")
        most = LIMIT_PER_S * self.seconds + LIMIT_BURST
        return [
            self.pushed,
            Promise("no more reads passed than the rule allows", 0 < self.passed <= most + 1, f"{self.passed} in {self.seconds:.1f} s"),
            Promise("the rest was refused, not dropped", self.refused > 0 and other == 0, f"{self.refused} refused"),
            Promise("carts, on the same connection, were not limited", carts.done > 0, f"{carts.done} written"),
        ]
