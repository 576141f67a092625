"""What the sentences about a server do. The stage has a hub behind gRPC, and one client."""

from __future__ import annotations

import asyncio

import grpc

from tests.conformance.xds.gherkin import Steps
from tests.conformance.xds.peer import NODE, WITHIN_S, Peer
from tests.conformance.xds.things import TYPES, Heard, content_of, contents, resources
from xds.protocol.errors import ResourceError
from xds.protocol.resource import Resource
from xds.protocol.stream import Verdict
from xds.server.hub import Connection, Hub
from xds.server.listen import GrpcServer, listen
from xds.server.status import resource_states

FOUR_MIB = 4 * 1024 * 1024

step = Steps()


class CountingHub(Hub):
    """Tells how many requests of the newest stream were read, so that a scenario's events happen in its order on both sides."""

    def __init__(self) -> None:
        super().__init__(max_wait_s=WITHIN_S)
        self.read = 0
        self.reading = asyncio.Event()
        self._newest: Connection | None = None

    def opened(self, connection: Connection) -> None:
        super().opened(connection)
        self._newest, self.read = connection, 0

    def received(self, connection: Connection, verdict: Verdict | None) -> None:
        super().received(connection, verdict)
        if connection is self._newest:
            self.read += 1
            self.reading.set()

    def forget(self) -> None:
        self._newest, self.read = None, 0

    async def until_read(self, count: int) -> None:
        while self.read < count:
            self.reading.clear()
            await asyncio.wait_for(self.reading.wait(), WITHIN_S)


class Stage:
    """Entered before the first step and left after the last."""

    def __init__(self, variant: str):
        self.variant = variant
        self.hub = CountingHub()
        self.verdicts = asyncio.Condition()
        self.hub.on_verdict(lambda *_: asyncio.ensure_future(self._verdict()))

    async def __aenter__(self) -> Stage:
        self.server: GrpcServer = await listen(self.hub, "127.0.0.1:0")
        self.peer = Peer(f"127.0.0.1:{self.server.port}", self.variant, [])
        await self.connect()
        return self

    async def __aexit__(self, *_) -> None:
        await self.peer.cut()
        await self.server.stop(0)

    async def _verdict(self) -> None:
        async with self.verdicts:
            self.verdicts.notify_all()

    async def connect(self, service: str = "") -> None:
        self.hub.forget()
        await self.peer.connect(service)

    async def gets(self, noun: str, wanted: dict[str, str], *, whole: bool = True) -> Heard:
        heard = await self.peer.read()
        assert heard.type_url == TYPES[noun], heard
        found = heard.contents if whole else {name: heard.contents.get(name) for name in wanted}
        assert found == wanted, heard
        return heard

    def last(self, noun: str) -> Heard:
        return [heard for heard in self.peer.heard if heard.type_url == TYPES[noun]][-1]


@step("a server that waits for {seconds} s at most")
async def _(stage: Stage, seconds: str) -> None:
    stage.hub.max_wait_s = float(seconds)
    await stage.connect()


@step("a client with the features {features}")
async def _(stage: Stage, features: str) -> None:
    stage.peer.features = features.split(", ")


@step("the server has {things}")
@step("the server publishes {things}")
async def _(stage: Stage, things: str) -> None:
    await stage.hub.until_read(stage.peer.sent)
    if " rules of " in things:
        count, size = (int(word) for word in things.removesuffix(" bytes").split(" rules of "))
        found = [Resource(TYPES["rule"], f"r{number}", content_of(f"r{number}", "1").ljust(size, b"\0")) for number in range(count)]
        stage.hub.publish(found)
        return
    things, _, refusal = things.partition(", but refuses ")
    burst = things.split(" and at once ")
    for each in burst:
        stage.hub.publish(resources(each), [_error(refusal)] if refusal else [])


def _error(text: str) -> ResourceError:
    """`rule b with PERMISSION_DENIED "why"`."""
    what, _, why = text.partition(" with ")
    noun, name = what.split()
    status, _, words = why.partition(" ")
    return ResourceError(TYPES[noun], name, grpc.StatusCode[status].value[0], words.strip('"'))


@step("the client connects to the service of {noun}")
async def _(stage: Stage, noun: str) -> None:
    await stage.connect(noun)


@step("the client connects again")
async def _(stage: Stage) -> None:
    await stage.connect()


@step("the client is cut off")
async def _(stage: Stage) -> None:
    stage.hub.forget()
    await stage.peer.cut()


@step("the client has all of {nouns}")
async def _(stage: Stage, nouns: str) -> None:
    for noun in nouns.split(", "):
        await stage.peer.ask(TYPES[noun], [])
        heard = await stage.peer.read()
        assert heard.type_url == TYPES[noun]
        await stage.peer.answer(heard)
        stage.peer.heard.clear()


@step("the client asks for {what}")
async def _(stage: Stage, what: str) -> None:
    what, as_of = what.removesuffix(" as of its last version"), what.endswith(" as of its last version")
    what, unnamed = what.removesuffix(" without naming the type"), what.endswith(" without naming the type")
    what, located = what.removesuffix(" by a locator"), what.endswith(" by a locator")
    what, _, holding = what.partition(", holding ")
    everything = what.startswith("all ")
    noun, _, names = what.removeprefix("all ").partition(" ")
    url = TYPES[noun]
    if located:
        field = "resource_locators_subscribe" if stage.variant == "delta" else "resource_locators"
        await stage.peer.send(url, **{field: [{"name": names}]})
        return
    held = dict(stage.peer.held.get(url, {})) if holding == "what it has" else {}
    if holding and not held:
        held = {f"{'n' * 150}{number}": "1" for number in range(int(holding.split()[0]))}
    version = stage.peer.versions[url] if as_of else ""
    await stage.peer.ask(url, [] if everything else names.split(", "), held=held, version=version, named=not unnamed)


@step("the client also asks for {noun} {name}")
async def _(stage: Stage, noun: str, name: str) -> None:
    name, _, nonce = name.partition(" with the nonce ")
    if nonce:
        await stage.peer.send(TYPES[noun], resource_names_subscribe=[name], response_nonce=nonce)
    else:
        await stage.peer.change(TYPES[noun], [name], [])


@step("the client no longer asks for {noun} {name}")
async def _(stage: Stage, noun: str, name: str) -> None:
    await stage.peer.change(TYPES[noun], [], [name])


@step("the client gets {noun} {things}")
async def _(stage: Stage, noun: str, things: str) -> None:
    await _gets(stage, noun, things)


@step("the client takes {noun} {things}")
async def _(stage: Stage, noun: str, things: str) -> None:
    await stage.peer.answer(await _gets(stage, noun, things))


async def _gets(stage: Stage, noun: str, things: str) -> Heard:
    if (noun, things) == ("40", "rules in several messages, each below 4 MiB"):
        return await _gets_many(stage)
    if noun == "one":
        noun, _, name = things.partition(" response with ")
        return await stage.gets(noun, contents(name), whole=False)
    if noun == "no":
        heard = await stage.gets(things.removesuffix(" at all"), {})
        assert not heard.removed and not heard.errors, heard
        return heard
    if noun == "a":
        heard = await stage.peer.read()
        assert heard.heartbeats == [things.split()[-1]] and not heard.contents, heard
        return heard
    things, _, ttl = things.partition(" with a TTL of ")
    things, mortal = things.removesuffix(" without a TTL"), not things.endswith(" without a TTL")
    wanted = contents(things)
    heard = await stage.gets(noun, wanted)
    assert not heard.heartbeats, heard
    if ttl:
        assert heard.ttl_s == dict.fromkeys(wanted, float(ttl.removesuffix(" s")))
    assert mortal or not heard.ttl_s, heard.ttl_s
    return heard


async def _gets_many(stage: Stage) -> Heard:
    names: list[str] = []
    messages = 0
    while len(names) < 40:
        heard = await stage.peer.read()
        assert heard.response.ByteSize() < FOUR_MIB
        names += heard.contents
        messages += 1
    assert messages > 1 and len(set(names)) == 40
    return heard


@step("the client gets nothing")
async def _(stage: Stage) -> None:
    came = await stage.peer.settled()
    assert not came, came


@step("the client learns {what}")
async def _(stage: Stage, what: str) -> None:
    """Reads and acknowledges whatever the server has to say now; the variants differ in what that is."""
    for heard in await stage.peer.settled():
        await stage.peer.answer(heard)


@step("the client is told that {noun} {name} is gone")
async def _(stage: Stage, noun: str, name: str) -> None:
    heard = await stage.gets(noun, {})
    assert heard.removed == [name], heard
    await stage.peer.answer(heard)


@step("the client is told that {noun} {name} does not exist")
async def _(stage: Stage, noun: str, name: str) -> None:
    heard = await stage.gets(noun, {})
    assert (heard.removed == [name]) if stage.variant == "delta" else (name in heard.errors), heard
    await stage.peer.answer(heard)


@step('the client is told {status} "{why}" of {noun} {name}')
async def _(stage: Stage, status: str, why: str, noun: str, name: str) -> None:
    heard = await stage.gets(noun, {})
    assert heard.errors == {name: (grpc.StatusCode[status].value[0], why)}, heard
    passes = grpc.StatusCode[status] not in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)
    assert not (passes and heard.removed), heard
    await stage.peer.answer(heard)


@step("the client is told of {count} removals in messages below 4 MiB")
async def _(stage: Stage, count: str) -> None:
    removed: set[str] = set()
    while len(removed) < int(count):
        heard = await stage.peer.read()
        assert heard.response.ByteSize() < FOUR_MIB
        removed.update(heard.removed)


@step("the client acknowledges {what}")
async def _(stage: Stage, what: str) -> None:
    what, _, version = what.partition(" with version ")
    if what.startswith("the response before"):
        asked = what.partition(", asking for ")[2]
        names = asked.partition(" ")[2].split(", ") if asked else None
        await stage.peer.answer(stage.peer.heard[-2], names=names)
    else:
        await stage.peer.answer(stage.last(what), version=version.strip('"') or None)


@step('the client refuses {what} because "{why}"')
async def _(stage: Stage, what: str, why: str) -> None:
    if what == "the response of the earlier stream":
        # The first request of a stream: it names what it wants like any other.
        await stage.peer.answer(stage.peer.heard[-1], refusal=why)
    else:
        await stage.peer.answer(stage.last(what), refusal=why)


@step('the stream ends with {status} and "{text}"')
async def _(stage: Stage, status: str, text: str) -> None:
    ended, said = await stage.peer.end()
    assert (ended, text in said) == (status, True), said


@step("the server knows that {noun} {name} is {verdict}")
async def _(stage: Stage, noun: str, name: str, verdict: str) -> None:
    state, _, why = verdict.partition(" because ")
    async with stage.verdicts:
        await asyncio.wait_for(stage.verdicts.wait_for(lambda: _state(stage, noun, name) == (state, why.strip('"'))), WITHIN_S)


def _state(stage: Stage, noun: str, name: str) -> tuple[str, str] | None:
    connection = stage.hub.nodes.get(NODE)
    found = resource_states(stage.hub, connection) if connection else ()
    return next(((one.state.value, one.reason) for one in found if (one.type_url, one.name) == (TYPES[noun], name)), None)


@step("only the version of {name} has changed")
async def _(stage: Stage, name: str) -> None:
    before, after = (heard.versions for heard in stage.peer.heard[-2:])
    assert list(after) == [name] and after[name] != before[name]
