"""The sidecar proves to the brokers who it is: its clients need not, or do so to the sidecar."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from confluent_kafka.admin import AdminClient, NewTopic

from mesh_core.lab import Kafka, ports, wait
from tests.conftest import start
from tests.integration.kafka.conftest import BROKER_PORTS, objects
from tests.integration.kafka.issuer import unsigned
from tests.integration.kafka.wire import API_VERSIONS, Connection, authenticate, handshake, metadata, request
from tests.integration.process import Sidecar

PASSWORDS = {"app": "app-secret", "ann": "ann-secret"}
ENVIRONMENT = {"APP_SECRET": PASSWORDS["app"], "ANN_SECRET": PASSWORDS["ann"], "WRONG": "not the password"}
LIFETIME_MS = 2000  # brokers take no second login within one second
SASL = "auth: sasl, users: [{name: ann, passwordFrom: {env: ANN_SECRET}}, {name: bob, passwordFrom: {env: APP_SECRET}}]"


def credentials(mechanism: str, user: str = "app", secret: str = "APP_SECRET") -> str:
    return f"{{mechanism: {mechanism}, user: {user}, passwordFrom: {{env: {secret}}}}}"


OWN = f"principals: [{{identity: 'user:ann', credentials: {credentials('plain', 'ann', 'ANN_SECRET')}}}]"
# Listener and cluster of that name: the cluster's credentials, more of the cluster, more of the listener.
LISTENERS = {
    "plain": (credentials("plain"), "", ""),
    "scram-sha-256": (credentials("scram-sha-256"), "", ""),
    "scram-sha-512": (credentials("scram-sha-512"), "", ""),
    "oauthbearer": ("{mechanism: oauthbearer, tokenFrom: {file: TOKEN}}", "", ""),
    "each": (credentials("scram-sha-256"), OWN, SASL),
    "wrong-password": (credentials("scram-sha-256", secret="WRONG"), "", SASL),
    "unknown-user": (credentials("plain", "nobody"), "", SASL),
    "unknown-hashed": (credentials("scram-sha-512", "nobody"), "", SASL),
    "wrong-for-all": (credentials("plain", secret="WRONG"), "", ""),
}


@dataclass
class Meshes:
    """One sidecar with many listeners, each at its port, and the file of the token."""

    sidecar: Sidecar
    ports: dict[str, int]
    token: Path

    def bootstrap(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """A broker that lets only `app` do anything, and wants to hear from SCRAM-SHA-512 again every two seconds."""
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:app;User:ANONYMOUS",
        "listener.name.sasl.scram-sha-512.connections.max.reauth.ms": str(LIFETIME_MS),
    }
    broker = start(lambda: Kafka(users=PASSWORDS, settings=settings).start())
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def meshes(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshes]:
    folder = tmp_path_factory.mktemp("meshes")
    token = folder / "token"
    write_token(token, "app")
    found = {name: ports.free_range(1 + BROKER_PORTS)[0] for name in LISTENERS}
    brokers = kafka.bootstrap(sasl=True)
    each = [
        objects(brokers, found[name], f"credentials: {given.replace('TOKEN', str(token))}, {more}", listener, name)
        for name, (given, more, listener) in LISTENERS.items()
    ]
    sidecar = Sidecar("---".join(each), folder, env=ENVIRONMENT)
    sidecar.start()
    yield Meshes(sidecar, found, token)
    sidecar.stop()


def write_token(path: Path, user: str) -> None:
    now = time.time()
    path.write_text(unsigned(sub=user, iat=now, exp=now + 3600) + "\n")


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"])
async def test_a_client_that_knows_nothing_of_it(meshes: Meshes, mechanism: str) -> None:
    """The topic's creation, and what is asked because a client comes to a broker's own port first, are ours to prove."""
    with Connection(meshes.ports[mechanism] + 2) as client:
        assert client.send(metadata()).answer()
    topic, bootstrap = f"for-{mechanism}", meshes.bootstrap(mechanism)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        assert (await producer.send_and_wait(topic, b"x")).offset == 0
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        assert (await consumer.getone()).value == b"x"


async def test_each_client_has_the_brokers_user_that_is_his(meshes: Meshes) -> None:
    """ann's own is ann, whom the broker forbids everything; all others are app."""
    common = {"bootstrap_servers": meshes.bootstrap("each"), "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"}
    async with AIOKafkaProducer(**common, sasl_plain_username="bob", sasl_plain_password=PASSWORDS["app"]) as producer:
        await producer.send_and_wait("by-bob", b"x")
    ann = AIOKafkaAdminClient(**common, sasl_plain_username="ann", sasl_plain_password=PASSWORDS["ann"])
    await ann.start()
    seen = await ann.list_topics()
    await ann.close()
    assert "by-bob" not in seen


@pytest.mark.parametrize("name", ["wrong-password", "unknown-user", "unknown-hashed"])
def test_whose_credentials_are_wrong_is_said(meshes: Meshes, name: str) -> None:
    with Connection(meshes.ports[name]) as client:
        client.send(handshake("PLAIN"), authenticate(b"\0ann\0" + PASSWORDS["ann"].encode()), metadata())
        assert client.error() == 0
        error, message, _, _ = client.outcome() or (0, "", b"", 0)
        assert error == 58
        assert "does not accept Midstream's own credentials" in message and "which are not the client's" in message
        assert client.answer() is None
    assert meshes.sidecar.metric("midstream_backend_errors_total", backend=name, kind="authentication") == 1
    assert "not the password" not in meshes.sidecar.log


async def test_a_client_without_sasl_is_told_in_the_answer_to_its_first_request(meshes: Meshes) -> None:
    with Connection(meshes.ports["wrong-for-all"]) as client:
        assert client.send(request(API_VERSIONS, 0, b"")).error() == 58
        assert client.answer() is None
    producer = AIOKafkaProducer(bootstrap_servers=meshes.bootstrap("wrong-for-all"))
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()


def test_the_brokers_session_is_renewed_between_requests(meshes: Meshes) -> None:
    """The broker closes connections whose session is over: on one connection we go on for more than two of them."""
    with Connection(meshes.ports["scram-sha-512"]) as client:
        until = time.monotonic() + 2.5 * LIFETIME_MS / 1000
        while time.monotonic() < until:
            assert client.send(metadata(), metadata(), metadata()).answer()
            assert client.answer() and client.answer()


def test_a_token_is_read_again_when_its_file_changes(meshes: Meshes) -> None:
    """Last: it leaves the file with the token of somebody who may do nothing."""

    def may_create() -> bool:
        admin = AdminClient({"bootstrap.servers": meshes.bootstrap("oauthbearer")})
        return admin.create_topics([NewTopic("by-token", 1, 1)], validate_only=True)["by-token"].exception(20) is None

    assert may_create()
    write_token(meshes.token, "ann")
    wait.until_true("the new token is in use", lambda: not may_create(), deadline_s=30)
    assert "secrets were read again" in meshes.sidecar.log
