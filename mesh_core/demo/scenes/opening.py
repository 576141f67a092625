"""The shop opens: its ordinary clients reach all three families through localhost."""

from ..scene import Play, Promise, Scene

WATCH_S = 3.0
LEAST = 5  # operations of each family; a working shop does some hundred


class Opening(Scene):
    name = "opening"
    title = "The shop opens on localhost"

    async def act(self, play: Play) -> None:
        ports = play.shop.addresses
        play.tell(f"asyncpg on localhost:{ports.database}, redis-py on :{ports.cache}, aiokafka on :{ports.events}")
        await play.watch(WATCH_S)

    async def promises(self, play: Play) -> list[Promise]:
        found = []
        for family, what in (("sql", "the database"), ("cache", "the cache"), ("kafka", "the brokers")):
            done = sum(tally.done for name, tally in play.ledger.here().items() if name.startswith(family))
            found.append(Promise(f"{what} answered", done >= LEAST, f"{done} operations"))
        return found
