"""Sidecars that have to show who they are: by token, by certificate; with real sidecars, and by hand where they would not do it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from mesh_core.control.access import Access, new_token
from mesh_core.control.sidecar_access import SidecarGate
from mesh_core.lab.certs import Authority
from tests.integration.control.objects import address, relay
from tests.integration.control.plane import ControlPlane
from tests.integration.control.test_sidecar import accepts
from tests.integration.process import Sidecar
from xds.messages import message
from xds.protocol.resource import Resource
from xds.protocol.types import SECRET
from xds.server.hub import Hub
from xds.server.listen import GrpcServer, listen
from xds.server.service import handlers

WITHIN_S = 15
SHOP, ORDERS, ADA = new_token(), new_token(), new_token()
SPIFFE = "spiffe://example.org/ns/shop"


def access_file(folder: Path, *sidecars: str) -> Path:
    file = folder / "access.yaml"
    people = f"people: [{{name: ada, tokenSha256: {ADA[1]}, roles: [editor]}}]\n"
    file.write_text(people + "sidecars:\n" + "".join(f"  - {entry}\n" for entry in sidecars))
    return file


def by_token(token: tuple[str, str], nodes: str = "shop-*") -> str:
    return f'{{name: shop, tokenSha256: {token[1]}, nodes: ["{nodes}"]}}'


@pytest.fixture
def refused(tmp_path: Path):
    """Starts a sidecar that is to be refused, and waits until it says why."""
    running: list[Sidecar] = []

    def start(control: str, why: str, *options: object, node: str = "shop-1") -> None:
        one = Sidecar("", tmp_path / f"refused{len(running)}", control=control, node=node, options=options)
        running.append(one)
        one.start(ready=False)
        one.log_has(why)
        one.kill()

    yield start
    for one in running:
        one.kill()


def in_force(plane: ControlPlane, name: str) -> None:
    """A further listener reaches the sidecar, which may be changing its stream meanwhile."""
    where = address()
    applied = plane.run("apply", "-f", "-", stdin=relay(name, where), environment={"MIDSTREAM_TOKEN": ADA[0]})
    assert applied.returncode == 0, applied.stderr
    deadline = time.monotonic() + WITHIN_S
    while not accepts(where):
        assert time.monotonic() < deadline, f"{name} is not in force"
        time.sleep(0.05)


def test_a_sidecar_needs_its_token_and_is_no_other_node(control, sidecar, refused, tmp_path: Path):
    (token := tmp_path / "token").write_text(SHOP[0] + "\n")
    file = access_file(tmp_path, by_token(SHOP))
    plane = control("--store", str(tmp_path / "control.db"), "--access", str(file))
    plane.run("apply", "-f", "-", stdin=relay("first", address()), environment={"MIDSTREAM_TOKEN": ADA[0]})
    refused(plane.grpc, "this control plane wants to know which sidecar asks: start it with --token FILE")
    follower = sidecar(control=plane.grpc, node="shop-1", options=("--token", token))
    in_force(plane, "second")

    # The next token beside the old one, then without it: nothing is restarted, and nobody is left out.
    access_file(tmp_path, by_token(SHOP), by_token(ORDERS))
    token.write_text(ORDERS[0])
    follower.log_has("the credentials have changed")
    access_file(tmp_path, by_token(ORDERS))
    in_force(plane, "third")
    access_file(tmp_path)
    follower.log_has("this sidecar's token is not known here")


def tls(folder: Path, authority: Authority) -> tuple[str, ...]:
    pair = authority.issue("control")
    files = {"--grpc-cert": pair.certificate, "--grpc-key": pair.key, "--grpc-client-ca": authority.certificate}
    return ("--store", str(folder / "control.db"), *(str(word) for option in files.items() for word in option))


def identity(authority: Authority, name: str, *uris: str) -> tuple[object, ...]:
    pair = authority.issue(name, uris=uris)
    return ("--control-ca", authority.certificate, "--control-cert", pair.certificate, "--control-key", pair.key)


def test_a_certificate_is_one_node_and_is_replaced_while_it_runs(control, sidecar, refused, tmp_path: Path):
    authority = Authority(tmp_path)
    plane = control(*tls(tmp_path, authority))
    plane.run("apply", "-f", "-", stdin=relay("first", address()))
    shop = identity(authority, "shop", f"{SPIFFE}/shop-1")
    refused(plane.grpc, f"the certificate of {SPIFFE}/shop-1 may not be the node shop-2, only shop-1", *shop, node="shop-2")
    by_spiffe = sidecar(control=plane.grpc, node="shop-1", options=shop)
    in_force(plane, "second")

    # An authority that follows the old one: first both are trusted, then all have new certificates.
    (tmp_path / "next").mkdir()
    successor = Authority(tmp_path / "next", "successor")
    both = authority.certificate.read_bytes() + successor.certificate.read_bytes()
    authority.certificate.write_bytes(both)
    by_spiffe.log_has("the credentials have changed")
    for name in ("shop", "control"):
        pair = successor.issue(name, uris=[f"{SPIFFE}/shop-1"])
        (tmp_path / f"{name}.key").write_bytes(pair.key.read_bytes())
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate.read_bytes())
    plane.log_has("certificates read again", WITHIN_S)
    in_force(plane, "third")


NODE = message("envoy.config.core.v3.Node")
REFUSED_ALREADY = (grpc.aio.AioRpcError, asyncio.InvalidStateError)  # its status says why
DELTA = "envoy.service.discovery.v3.DeltaDiscovery"


class ByHand:
    """A server in this process, and calls to it."""

    def __init__(self, server: GrpcServer, access: Path):
        self.hub, self.access = server.hub, access
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")

    async def secrets(self, token: str, node) -> object:
        """The first answer of SDS."""
        method = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
        encode, decode = message(f"{DELTA}Request").SerializeToString, message(f"{DELTA}Response").FromString
        call = self.channel.stream_stream(method, encode, decode)(metadata=bearer(token), timeout=10)
        with_node = message(f"{DELTA}Request")(node=node, resource_names_subscribe=["password"])
        with suppress(*REFUSED_ALREADY):
            await call.write(with_node)
        return await call.read()


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


@pytest.fixture
async def by_hand(tmp_path: Path) -> AsyncIterator[ByHand]:
    file = access_file(tmp_path, by_token(SHOP), f"{{name: orders, tokenSha256: {ORDERS[1]}, nodes: [orders], clusters: [orders]}}")
    hub = Hub(gate=SidecarGate(Access(file)))
    hub.publish([Resource(SECRET, "password", b"hunter2")])
    server = await listen(hub, "127.0.0.1:0")
    found = ByHand(server, file)
    yield found
    await found.channel.close()
    await server.stop()


async def test_secrets_are_sent_to_who_may_have_them_only(by_hand: ByHand):
    for token, node, status, said in (
        ("", NODE(id="shop-1"), "UNAUTHENTICATED", "wants to know which sidecar asks"),
        ("nonsense", NODE(id="shop-1"), "UNAUTHENTICATED", "token is not known here"),
        (SHOP[0], None, "PERMISSION_DENIED", "may not be the node without a name, only shop-*"),
        (SHOP[0], NODE(id="orders"), "PERMISSION_DENIED", "may not be the node orders"),
        (SHOP[0], NODE(id="shop-1", cluster="orders"), "PERMISSION_DENIED", "may not be of the cluster orders: add that to its `clusters`"),
        (ADA[0], NODE(id="shop-1"), "PERMISSION_DENIED", "ada is a person's name and no sidecar's"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await by_hand.secrets(token, node)
        assert (refused.value.code().name, said in refused.value.details()) == (status, True), refused.value.details()
    for token, node in ((SHOP[0], NODE(id="shop-1")), (ORDERS[0], NODE(id="orders", cluster="orders"))):
        assert (await by_hand.secrets(token, node)).resources[0].resource.value == b"hunter2"


async def test_no_method_of_any_service_is_forgotten(by_hand: ByHand):
    """Whoever adds one has to ask who calls it."""
    methods = [method for handler in handlers(by_hand.hub) for method in handler._method_handlers]
    assert len(methods) > 20
    for method in methods:
        call = by_hand.channel.stream_stream(method)(timeout=10)
        with suppress(*REFUSED_ALREADY):
            await call.write(b"")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, method


async def test_the_status_of_others_is_for_people(by_hand: ByHand):
    for token, node in ((SHOP[0], NODE(id="shop-1")), (ORDERS[0], NODE(id="orders"))):
        await by_hand.secrets(token, node)
    service = "envoy.service.status.v3.ClientStatus"
    fetch = by_hand.channel.unary_unary(
        "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
        message(f"{service}Request").SerializeToString,
        message(f"{service}Response").FromString,
    )
    seen = {
        token: [found.node.id for found in (await fetch(message(f"{service}Request")(), metadata=bearer(token))).config]
        for token in (SHOP[0], ADA[0])
    }
    assert seen == {SHOP[0]: ["shop-1"], ADA[0]: ["shop-1", "orders"]}
