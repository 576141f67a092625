"""What the sentences about a client do. The stage has our client, and one or two servers that are not ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from tests.conformance.xds.foreign import WITHIN_S, Foreign, content_of
from tests.conformance.xds.gherkin import Steps
from tests.conformance.xds.things import TYPES, named
from xds.client.ads import AdsClient
from xds.client.loads import LoadReports
from xds.messages import enum_values, message, serialise
from xds.protocol.client import Held, Update
from xds.protocol.report import Refused
from xds.protocol.types import CLUSTER, ENDPOINTS

NOUNS = {url: noun for noun, url in TYPES.items()}

step = Steps()


class ClientStage:
    """The client runs from the sentence that names it to the end."""

    def __init__(self, variant: str):
        self.variant = variant
        self.servers = [Foreign(variant)]
        self.refuse: dict[str, str] = {}
        self.connected = ""
        self.nack: Any = None
        self.client: AdsClient | None = None
        self._task: asyncio.Task | None = None
        self.answering: asyncio.Task | None = None

    async def __aenter__(self) -> ClientStage:
        await self.servers[0].start()
        return self

    async def __aexit__(self, *_) -> None:
        for task in (self._task, self.answering):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for server in self.servers:
            await server.stop()

    @property
    def server(self) -> Foreign:
        return self.servers[0]

    def start(self, nouns: str, **options: Any) -> None:
        types = [TYPES[noun] for noun in nouns.split(", ")]
        addresses = [server.address for server in self.servers]
        self.client = AdsClient(addresses, "shop-1", types, self._on_update, on_connection=self._on_connection, **options)
        self._task = asyncio.create_task(self.client.run())

    async def _on_update(self, update: Update) -> list[Refused]:
        return [Refused(url, name, held.version, "spec", self.refuse[name]) for (url, name), held in update.changed.items() if name in self.refuse]

    def _on_connection(self, target: str | None) -> None:
        self.connected = target or ""

    def held(self) -> set[str]:
        assert self.client is not None
        return {_text(url, name, content_of(url, held.value)) for (url, name), held in self.client.machine.held.items()}

    async def until(self, true: Callable[[], bool], what: Callable[[], object]) -> None:
        """The client tells of nothing after it has applied an update, so it is looked at."""
        until = time.monotonic() + WITHIN_S
        while not true():
            assert time.monotonic() < until, f"after {WITHIN_S} s it is still {what()}"
            await asyncio.sleep(0.01)


def _text(url: str, name: str, content: str) -> str:
    return f"{NOUNS[url]} {name}" + ("" if content == "1" else f"={content}")


@step("a client of {nouns}")
async def _(stage: ClientStage, nouns: str) -> None:
    nouns, _, named_types = nouns.partition(" that asks for the endpoints of its clusters, for ")
    nouns, _, held = nouns.partition(" that held ")
    nouns, _, counted = nouns.partition(" that counts ")
    nouns, _, patience = nouns.removesuffix(" s of patience").partition(" with ")
    if named_types:
        patience_s = float(named_types.removesuffix(" s"))
        stage.start(nouns, named=[ENDPOINTS], references=_endpoints_of, patience_s=patience_s)
    elif held:
        noun, name = held.split()
        value = Foreign(stage.variant)._content(TYPES[noun], name, "1")
        stage.start(nouns, held=[Held(TYPES[noun], name, "1", value)])
    elif counted:
        stage.start(nouns, beside=[lambda node: LoadReports(node, lambda names: _stats(counted, names))])
    else:
        stage.start(nouns, **({"patience_s": float(patience)} if patience else {}))


def _stats(counted: str, names: set[str] | None):
    """Of "7 requests to a, 9 requests to b"."""
    for count, _, name in (words.partition(" requests to ") for words in counted.split(", ")):
        if names is None or name in names:
            stats = message("envoy.config.endpoint.v3.ClusterStats")(cluster_name=name)
            stats.upstream_locality_stats.add(total_issued_requests=int(count))
            yield stats


@step("the server wants load reports of {names}")
async def _(stage: ClientStage, names: str) -> None:
    wanted = {"send_all_clusters": True} if names == "all" else {"clusters": names.split(", ")}
    stage.server.loads.want(load_reporting_interval={"nanos": 100_000_000}, **wanted)


@step("the server hears of {counted}")
async def _(stage: ClientStage, counted: str) -> None:
    loads = stage.server.loads
    await stage.until(lambda: (loads.node, loads.heard) == ("shop-1", counted), lambda: (loads.node, loads.heard))


def _endpoints_of(held: Held):
    return [(ENDPOINTS, held.name)] if held.type_url == CLUSTER else []


@step("a second server")
async def _(stage: ClientStage) -> None:
    stage.servers.append(await Foreign(stage.variant).start())


@step("the first server is away")
@step("the server goes away")
async def _(stage: ClientStage) -> None:
    await stage.server.stop()


@step("the first server comes back")
async def _(stage: ClientStage) -> None:
    """It answers whatever it is asked, as the probe and then the client do."""
    await stage.server.start()
    stage.answering = asyncio.create_task(stage.server.answer_all(lambda request: stage.server.made(request.type_url, [("a", "1", 0)])))


@step("the client is connected to the {which} server")
async def _(stage: ClientStage, which: str) -> None:
    address = stage.servers[("first", "second").index(which)].address
    await stage.until(lambda: stage.connected == address, lambda: stage.connected)


@step("the {which} server gives {things}")
async def _(stage: ClientStage, which: str, things: str) -> None:
    await _give(stage.servers[("first", "second").index(which)], things)


@step("the server gives {things}")
async def _(stage: ClientStage, things: str) -> None:
    await _give(stage.server, things)


async def _give(server: Foreign, things: str) -> None:
    things, _, nonce = things.partition(" with the nonce ")
    things, _, version = things.partition(" as version ")
    options = {"nonce": nonce.strip('"'), "version": version or "1"}
    if things.startswith("only "):
        thing, _, before = things.removeprefix("only ").partition(" of ")
        noun, kept = thing.split()
        gone = [name for name in before.split(", ") if name != kept]
        if server.variant == "delta":
            await server.give(TYPES[noun], [], removed_resources=gone, **options)
        else:
            await server.give(TYPES[noun], [(kept, "1", 0)], **options)
        return
    found: list[tuple[str, str, float]] = []
    for one in things.split(", "):
        noun, _, rest = one.partition(" ")
        thing, _, ttl = rest.partition(" for ")
        found.append((*named(thing), float(ttl.removesuffix(" s") or 0)))
    await server.give(TYPES[noun], found, **options)


@step("the server renews {noun} {name} for {seconds} s")
async def _(stage: ClientStage, noun: str, name: str, seconds: str) -> None:
    await stage.server.give(TYPES[noun], [(name, "", float(seconds))])


@step("the server takes {noun} {name} away")
async def _(stage: ClientStage, noun: str, name: str) -> None:
    await stage.server.give(TYPES[noun], [], removed_resources=[name])


@step('the server says {status} "{why}" of {noun} {name}')
async def _(stage: ClientStage, status: str, why: str, noun: str, name: str) -> None:
    error = {"resource_name": {"name": name}, "error_detail": {"code": grpc.StatusCode[status].value[0], "message": why}}
    await stage.server.give(TYPES[noun], [], resource_errors=[error])


@step("the server breaks the stream")
async def _(stage: ClientStage) -> None:
    stage.server.break_stream()


@step('the client refuses {noun} {name} because "{why}"')
async def _(stage: ClientStage, noun: str, name: str, why: str) -> None:
    stage.refuse[name] = why


@step("the server hears an ACK")
async def _(stage: ClientStage) -> None:
    await stage.server.hear(lambda request: request.response_nonce and not request.HasField("error_detail"))


@step('the server hears an ACK of "{nonce}"')
async def _(stage: ClientStage, nonce: str) -> None:
    answer = await stage.server.hear(lambda request: request.response_nonce == nonce)
    assert not answer.HasField("error_detail")


@step("the server hears an ACK with version {version}")
async def _(stage: ClientStage, version: str) -> None:
    answer = await stage.server.hear(lambda request: request.response_nonce and not request.HasField("error_detail"))
    assert answer.version_info == version


@step("the server hears a NACK")
async def _(stage: ClientStage) -> None:
    await _nack(stage)


@step("the server hears a NACK with version {version}")
async def _(stage: ClientStage, version: str) -> None:
    await _nack(stage)
    assert stage.nack.version_info == version


@step('the server hears a NACK of "{nonce}" that asks for nothing')
async def _(stage: ClientStage, nonce: str) -> None:
    await _nack(stage)
    request = stage.nack
    assert (request.response_nonce, list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)) == (nonce, [], [])


@step('the server hears a NACK because "{why}"')
@step('the last NACK says "{why}"')
async def _(stage: ClientStage, why: str) -> None:
    if stage.nack is None:
        await _nack(stage)
    assert why in stage.nack.error_detail.message, stage.nack.error_detail.message


async def _nack(stage: ClientStage) -> None:
    stage.nack = await stage.server.hear(lambda request: request.HasField("error_detail"))


@step("the server hears that {noun} {names} are wanted")
async def _(stage: ClientStage, noun: str, names: str) -> None:
    wanted = set(names.split(", "))
    asked: set[str] = set()

    def enough(request: Any) -> bool:
        if request.type_url != TYPES[noun]:
            return False
        if stage.variant == "sotw":
            return set(request.resource_names) == wanted
        asked.update(request.resource_names_subscribe)
        return asked == wanted or bool(request.resource_names_unsubscribe)

    await stage.server.hear(enough)


@step("the server has heard of {nouns} only")
async def _(stage: ClientStage, nouns: str) -> None:
    await stage.server.hear(lambda request: request.type_url == TYPES[nouns.split(", ")[-1]], again=True)
    assert {NOUNS[request.type_url] for request in stage.server.stream.requests} == set(nouns.split(", "))


@step("the server hears a first request of {noun}")
async def _(stage: ClientStage, noun: str) -> None:
    noun, _, version = noun.removesuffix(" and no nonce").partition(" with version ")
    request = await stage.server.hear(lambda request: request.type_url == TYPES[noun])
    assert request.response_nonce == ""
    assert not version or request.version_info == version


@step("the server hears that the client holds {noun} {names}")
async def _(stage: ClientStage, noun: str, names: str) -> None:
    request = await stage.server.hear(lambda request: request.type_url == TYPES[noun])
    assert set(request.initial_resource_versions) == set(names.split(", "))


@step("the client has {things}")
async def _(stage: ClientStage, things: str) -> None:
    wanted = set(things.split(", "))
    await stage.until(lambda: stage.held() == wanted, stage.held)


@step("the client keeps {noun} {name} for {seconds} s and more")
async def _(stage: ClientStage, noun: str, name: str, seconds: str) -> None:
    assert stage.client is not None
    left_s = stage.client.machine.expiries[TYPES[noun], name] - asyncio.get_running_loop().time()
    assert left_s > float(seconds)


@step("the client reports {noun} {name} as {status}")
async def _(stage: ClientStage, noun: str, name: str, status: str) -> None:
    client = stage.client
    assert client is not None
    wanted = enum_values("envoy.admin.v3.ClientResourceStatus")[status]

    def reported() -> list[int]:
        assert serialise(client.status())
        return [row.client_status for row in client.status().generic_xds_configs if (row.type_url, row.name) == (TYPES[noun], name)]

    await stage.until(lambda: reported() == [wanted], reported)
