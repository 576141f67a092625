"""A table becomes sharded while it is being read, and its rows then spread over the servers.

The table exists on every server and is empty when the rule comes: moving rows that are already there is another
feature, and the demo does not pretend to have it.
"""

from ..objects import SHARDING
from ..scene import Play, Promise, Scene

WATCH_S = 6.0


class TableSharded(Scene):
    name = "orders sharded"
    title = "The table `orders` becomes sharded by customer"

    async def act(self, play: Play) -> None:
        self.pushed = await play.push(SHARDING)
        play.shop.taking_orders.set()
        play.tell("the shop takes orders from now on; it still sees one database")
        await play.watch(WATCH_S)

    async def promises(self, play: Play) -> list[Promise]:
        async with play.shop.stocktaking():
            rows = await play.stage.rows_per_shard()
            counted, turnover = await play.shop.database.turnover()
            latest = await play.shop.database.latest_orders(5)
            placed = dict(play.shop.books.placed)
        spread = " + ".join(map(str, rows))
        return [
            self.pushed,
            Promise("rows are on every shard", all(rows), spread),
            Promise("each customer is on one shard", await _customers_on_one_shard(play)),
            Promise("count(*) through the mesh is what the shards hold", counted == sum(rows) == len(placed), f"{counted} = {spread}"),
            Promise("sum(total) through the mesh is what was sold", turnover == sum(total for _, total in placed.values()), str(turnover)),
            Promise("ORDER BY over all shards is right", latest == sorted(placed, reverse=True)[:5], str(latest)),
        ]


async def _customers_on_one_shard(play: Play) -> bool:
    seen: list[int] = []
    for shard in play.stage.shards:
        seen += [row["customer_id"] for row in await shard.fetch("select distinct customer_id from orders")]
    return len(seen) == len(set(seen)) > 0
