"""Thousands of streams on one event loop: who is written to, and who waits."""

import asyncio

from xds.server import turns
from xds.server.alarms import Alarms
from xds.server.turns import Turns, Writer


class Stream:
    """Owes `frames`; asked for nothing by time."""

    waiting = False
    heartbeat_every_s = None

    def __init__(self, frames: int = 1) -> None:
        self.frames = frames

    def poll(self) -> bytes | None:
        self.frames -= 1
        return b"frame" if self.frames >= 0 else None


class Client:
    """Takes what it is written when it is told to."""

    def __init__(self) -> None:
        self.writing = 0
        self.taken = 0
        self.takes = asyncio.Event()

    async def write(self, frame: bytes) -> None:
        self.writing += 1
        await self.takes.wait()
        self.writing -= 1
        self.taken += 1


def writer_of(line: Turns, stream: Stream, client: Client) -> Writer:
    return Writer(line, stream, client, Alarms(stream, 1.0), lambda: True, lambda: None)


async def until(true) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 what is awaited happens within turns of this loop
            await asyncio.sleep(0)


def test_first_answers_are_sent_a_few_at_a_time_and_changes_pass_by():
    async def story():
        line, slow = Turns(), Client()
        for _ in range(3 * turns.MAX_FIRST):
            writer_of(line, Stream(), slow).ring()
        await until(lambda: slow.writing == turns.MAX_FIRST)
        quick = Client()
        quick.takes.set()
        old = writer_of(line, Stream(), quick)
        old.is_first = False
        old.ring()
        await until(lambda: quick.taken == 1)
        assert slow.writing == turns.MAX_FIRST
        slow.takes.set()
        await until(lambda: slow.taken == 3 * turns.MAX_FIRST)

    asyncio.run(story())


def test_a_client_that_does_not_take_its_first_answer_holds_others_up_for_a_while_only(monkeypatch):
    monkeypatch.setattr(turns, "FIRST_WITHIN_S", 0.01)

    async def story():
        line, stalled, quick = Turns(), Client(), Client()
        quick.takes.set()
        for _ in range(turns.MAX_FIRST):
            writer_of(line, Stream(), stalled).ring()
        writer_of(line, Stream(), quick).ring()
        await until(lambda: quick.taken == 1)
        assert stalled.taken == 0

    asyncio.run(story())


def test_a_stream_that_is_rung_for_again_and_again_waits_once():
    async def story():
        line, client, stream = Turns(), Client(), Stream(1)
        client.takes.set()
        writer = writer_of(line, stream, client)
        for _ in range(5):
            writer.ring()
        await until(lambda: client.taken == 1)
        stream.frames = 1
        writer.ring()
        await until(lambda: client.taken == 2)

    asyncio.run(story())


def test_a_defect_ends_its_own_stream():
    async def story():
        line, ended = Turns(), []
        stream = Stream()
        stream.poll = lambda: 1 / 0
        writer = Writer(line, stream, Client(), Alarms(stream, 1.0), lambda: True, lambda: ended.append(True))
        writer.ring()
        await until(lambda: ended)
        assert isinstance(writer.failure, ZeroDivisionError)

    asyncio.run(story())
