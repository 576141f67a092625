"""The day is over: what the shop believes is compared with what the servers hold, asked directly."""

from ..scene import Play, Promise, Scene


class Stocktaking(Scene):
    name = "stocktaking"
    title = "Stocktaking"

    async def act(self, play: Play) -> None:
        play.shop.taking_orders.clear()
        books = play.shop.books
        async with play.shop.stocktaking():
            await play.until("the warehouse's last order", lambda: books.announced <= play.shop.events.received)

    async def promises(self, play: Play) -> list[Promise]:
        books, found = play.shop.books, dict[int, int]()
        copies = 0
        for shard in play.stage.shards:
            for row in await shard.fetch("select id, customer_id from orders"):
                copies += 1
                found[row["id"]] = row["customer_id"]
        placed = {order: customer for order, (customer, _) in books.placed.items()}
        lost = [order for order in placed if found.get(order) != placed[order]]
        strange = found.keys() - placed.keys() - books.unknown
        return [
            Promise("every confirmed order is in the database", not lost, f"{len(placed)} orders"),
            Promise("exactly once, and no other is", copies == len(found) and not strange, f"{len(books.unknown)} attempts got no answer"),
            Promise("the warehouse got every order event", books.announced <= play.shop.events.received, f"{len(books.announced)} events"),
        ]
