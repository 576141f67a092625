"""A topic is denied to writers, by rule, while the producer's other topic goes on; then the rule is withdrawn."""

from ..objects import TOPIC_DENIED
from ..scene import Play, Promise, Scene
from ..shop.events import CLICKS

WATCH_S = 3.0
CLICK = "kafka click"


class TopicDenied(Scene):
    name = "topic denied"
    title = "The topic `shop-clicks` is denied, then allowed again"
    tolerated = (CLICK,)

    async def act(self, play: Play) -> None:
        clicks = play.ledger.tally(CLICK)
        async with play.pushed(TOPIC_DENIED) as self.pushed:
            await play.until("a refused click", lambda: clicks.troubles["refused"] > 0)
            play.tell(f"clicks: {clicks.last_trouble}")
            done_before, on_broker_before = clicks.done, await play.stage.records_in(CLICKS)
            await play.watch(WATCH_S)
            self.slipped = clicks.done - done_before
            self.arrived = await play.stage.records_in(CLICKS) - on_broker_before
        self.back_s = await play.works(CLICK)

    async def promises(self, play: Play) -> list[Promise]:
        clicks = play.ledger.tally(CLICK)
        orders = play.ledger.tally("kafka order event").done
        other = sum(count for trouble, count in clicks.troubles.items() if trouble != "refused")
        return [
            self.pushed,
            Promise("no click reached the broker while denied", self.slipped == self.arrived == 0, f"{clicks.troubles['refused']} refused"),
            Promise("refusals were in Kafka's own words, on a connection that stayed", other == 0, clicks.last_trouble),
            Promise("order events went on", orders > 0, f"{orders} acknowledged"),
            Promise("clicks came back when the rule went", True, f"{1000 * self.back_s:.0f} ms"),
        ]
