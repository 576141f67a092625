"""kill -9 of a cache master: its replica takes over, and the clients' connections never notice."""

import asyncio
import time

from ..scene import Play, Promise, Scene
from ..shop.cache import ANSWER_DEADLINE_S

SHARD = 0
SETTLED_S = 1.5  # without a trouble and with every cart writable: the cluster is itself again


class CacheMasterDies(Scene):
    name = "cache master dies"
    title = "A cache master is killed"
    tolerated = ("cache",)

    async def act(self, play: Play) -> None:
        cache = play.stage.cache
        dead = await asyncio.to_thread(cache.kill_master, SHARD)
        killed_at = time.monotonic()
        play.tell(f"$ kill -9 {dead.name} (port {dead.port}), the master of a third of all keys")
        new = await asyncio.to_thread(cache.wait_failover, SHARD, dead)
        play.tell(f"{new.name} was elected after {time.monotonic() - killed_at:.1f} s")
        await play.until("carts on every shard", lambda: _all_carts_writable(play))
        self.whole_s = time.monotonic() - killed_at
        await play.watch(SETTLED_S)
        self.quiet = all(time.monotonic() - tally.last_trouble_at > SETTLED_S / 2 for tally in _cache(play))
        await asyncio.to_thread(dead.start)
        play.tell(f"{dead.name} is started again, as a replica")
        await asyncio.to_thread(cache.wait_ok)

    async def promises(self, play: Play) -> list[Promise]:
        tallies = _cache(play)
        dropped = sum(tally.troubles["dropped"] + tally.troubles["failed"] for tally in tallies)
        late = sum(tally.troubles["late"] for tally in tallies)
        refused = sum(tally.troubles["refused"] for tally in tallies)
        last = max(tallies, key=lambda tally: tally.last_trouble_at).last_trouble
        return [
            Promise("the whole cache was served again without anybody's help", self.quiet, f"after {self.whole_s:.1f} s"),
            Promise("no client connection was dropped", dropped == 0, f"{refused} errors meanwhile{': ' + last if refused else ''}"),
            Promise(f"no request went unanswered for {ANSWER_DEADLINE_S:g} s", late == 0),
        ]


def _cache(play: Play) -> list:
    return [tally for name, tally in play.ledger.here().items() if name.startswith("cache")]


async def _all_carts_writable(play: Play) -> bool:
    """Carts of all slots: 64 of them miss a given third of the cluster with a probability of 5e-12."""
    try:
        for number in range(64):
            await play.shop.cache.put_in_cart(number, number)
    except Exception:
        return False
    return True
