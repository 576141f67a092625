"""Clients prove to the sidecar who they are: every mechanism, and every way not to be let in."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, TopicAuthorizationFailedError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from mesh_core.lab import Kafka, ports
from tests.integration.kafka.conftest import BROKER_PORTS, Mesh, objects
from tests.integration.kafka.issuer import AUDIENCE, ISSUER, Issuer, unsigned
from tests.integration.kafka.wire import API_VERSIONS, Connection, authenticate, handshake, metadata, request
from tests.integration.process import Sidecar

USERS = {"ANN_PASSWORD": "ann, =secret", "BOB_PASSWORD": "bob-secret"}
RULES = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: ann-reads}
spec:
  listeners: [events]
  identities: ["user:ann"]
  rules: [{deny: [write], resources: ["anns-*"]}, {allow: ["*"], resources: ["*"]}]
"""
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
FAILED = 58


ISSUES = Issuer()


@dataclass
class Guarded(Mesh):
    short: int
    hasty: int


@pytest.fixture(scope="module")
def guarded(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A listener `events` that lets in ann, bob and whom tokens name, before a broker that asks nobody; and beside it, from the sixth port on,
    `short`, with less mechanisms and short sessions, and `hasty`, which does not wait for a proof."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = ISSUES.write_keys(folder / "keys.json")
    port, short, hasty = (ports.free_range(1 + BROKER_PORTS)[0] for _ in range(3))
    tokens = f'tokens: {{keysFrom: {{file: {keys}}}, issuer: "{ISSUER}", audiences: [{AUDIENCE}], claims: {{scope: write}}, leeway: 1s}}'
    users = "auth: sasl, users: [{name: ann, passwordFrom: {env: ANN_PASSWORD}}, {name: bob, passwordFrom: {env: BOB_PASSWORD}}]"
    brokers = kafka.bootstrap()
    all_objects = objects(brokers, port, listener=f"{users}, sasl: {{{tokens}}}") + RULES + "---"
    few = f"{users}, sasl: {{{tokens}, mechanisms: [scram-sha-512, oauthbearer], sessionLifetime: 1500ms}}"
    all_objects += objects(brokers, short, listener=few, name="short") + "---"
    all_objects += objects(brokers, hasty, listener=f"{users}, sasl: {{loginTimeout: 1s}}", name="hasty")
    sidecar = Sidecar(all_objects, folder, env=USERS)
    sidecar.start()
    yield Guarded(sidecar, port, all_objects, short, hasty)
    sidecar.stop()


class Token(AbstractTokenProvider):
    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token


def options(through: Guarded, mechanism: str, user: str = "ann", password: str = USERS["ANN_PASSWORD"]) -> dict[str, object]:
    common = {"bootstrap_servers": through.bootstrap, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        return {**common, "sasl_oauth_token_provider": Token(ISSUES.token(user))}
    return {**common, "sasl_plain_username": user, "sasl_plain_password": password}


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "OAUTHBEARER"])
async def test_who_is_let_in_is_whom_policies_see(kafka: Kafka, guarded: Guarded, mechanism: str) -> None:
    topic = f"anns-{mechanism.lower()}"
    kafka.create_topic(topic, partitions=1)
    through = guarded
    bob = options(through, mechanism, "bob", USERS["BOB_PASSWORD"])
    async with AIOKafkaProducer(**bob) as producer:
        assert (await producer.send_and_wait(topic, b"from bob")).offset == 0
    ann = options(through, mechanism)
    async with AIOKafkaConsumer(topic, auto_offset_reset="earliest", **ann) as consumer:
        assert (await consumer.getone()).value == b"from bob"
    async with AIOKafkaProducer(**ann) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic, b"from ann")


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "OAUTHBEARER"])
def test_librdkafka_is_let_in(kafka: Kafka, guarded: Guarded, mechanism: str) -> None:
    through = guarded
    given: dict[str, object] = {"bootstrap.servers": through.bootstrap, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        given["oauth_cb"] = lambda _: (ISSUES.token(algorithm="RS256"), 4_000_000_000)
    else:
        given |= {"sasl.username": "ann", "sasl.password": USERS["ANN_PASSWORD"]}
    assert AdminClient(given).list_topics(timeout=20).brokers


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(("user", "password"), [("ann", "not this one"), ("nobody", USERS["ANN_PASSWORD"])])
async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(
    kafka: Kafka, guarded: Guarded, mechanism: str, user: str, password: str
) -> None:
    through = guarded
    producer = AIOKafkaProducer(**options(through, mechanism, user, password))
    with pytest.raises((AuthenticationFailedError, KafkaConnectionError)):
        await producer.start()
    await producer.stop()
    assert through.sidecar.metric("midstream_errors_total", kind="authentication_failed") >= 1
    assert password not in through.sidecar.log


def test_librdkafka_says_that_the_password_is_wrong(kafka: Kafka, guarded: Guarded) -> None:
    through = guarded
    said: list[str] = []
    admin = AdminClient(
        {
            "bootstrap.servers": through.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "ann",
            "sasl.password": "wrong",
            "error_cb": lambda error: said.append(str(error)),
        }
    )
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=5)
    admin.poll(0)
    assert any("Authentication failed: invalid user name or password" in line for line in said), said


def bearer(token: str) -> bytes:
    return f"n,,\x01auth=Bearer {token}\x01\x01".encode()


def test_a_token_that_is_not_good_is_refused_with_the_reason(kafka: Kafka, guarded: Guarded) -> None:
    through = guarded
    refused = {
        ISSUES.token(lifetime_s=-5): "expired",
        ISSUES.token(nbf=4_000_000_000): "not valid yet",
        ISSUES.token(aud="another"): "another audience",
        ISSUES.token(iss="https://another"): "another issuer",
        ISSUES.token(scope="read"): "required claim",
        ISSUES.token(exp=None): "no expiry",
        Issuer().token(): "not of a known key",
        unsigned(sub="ann", iss=ISSUER, aud=AUDIENCE, scope="write", exp=4_000_000_000): "not signed",
        ISSUES.token(padding="x" * 40_000): "exceeds 32 KiB",
        "no token": "not three parts",
    }
    for token, reason in refused.items():
        with Connection(through.port) as client:
            assert client.send(handshake("OAUTHBEARER"), authenticate(bearer(token))).error() == 0
            assert client.outcome() == (0, "", b'{"status":"invalid_token"}', 0)
            error, message, _, _ = client.send(authenticate(b"\x01")).outcome() or (0, "", b"", 0)
            assert error == FAILED and reason in message, message
            assert client.answer() is None
            assert token not in through.sidecar.log


def test_before_a_client_has_proven_who_it_is_nothing_is_taken(kafka: Kafka, guarded: Guarded) -> None:
    through = guarded
    good = b"\0bob\0" + USERS["BOB_PASSWORD"].encode()
    with Connection(through.port) as client:  # another request closes the connection, as a broker does
        assert client.send(metadata()).answer() is None
    with Connection(through.port) as client:  # also between, and in one write with what comes before it
        assert client.send(request(API_VERSIONS, 0, b"")).error() == 0
        assert client.send(handshake("PLAIN"), metadata(), authenticate(good)).error() == 0
        assert client.answer() is None
    with Connection(through.port) as client:  # behind a refusal nothing more is read
        client.send(handshake("PLAIN"), authenticate(b"\0bob\0wrong"), authenticate(good), metadata())
        assert client.error() == 0 and client.error() == FAILED
        assert client.answer() is None
    with Connection(through.port) as client:  # behind a good proof all that was sent with it is answered
        client.send(handshake("PLAIN"), authenticate(good), metadata())
        assert client.error() == 0 and client.outcome() == (0, "", b"", 0)
        assert client.answer()


@pytest.mark.parametrize(
    "token", [b"", b"\0", b"\0\0", b"\0bob", b"\0\0secret", b"ann\0bob\0bob-secret", b"\0bob\0bob-secret\0", b"\0\xff\0x", b"\0bob\0"]
)
def test_what_is_no_proof_is_none(kafka: Kafka, guarded: Guarded, token: bytes) -> None:
    through = guarded
    with Connection(through.port) as client:
        client.send(handshake("PLAIN"), authenticate(token), metadata())
        assert client.error() == 0 and client.error() == FAILED
        assert client.answer() is None


def test_a_mechanism_that_is_not_offered_is_told_those_that_are(kafka: Kafka, guarded: Guarded) -> None:
    with Connection(guarded.short) as client:
        answer = client.send(handshake("PLAIN")).answer()
        assert answer == b"\0\x21" + b"\0\0\0\x02" + b"\0\x0dSCRAM-SHA-512" + b"\0\x0bOAUTHBEARER"
        assert client.answer() is None
    with Connection(guarded.port) as client:
        assert client.send(authenticate(b"\0bob\0bob-secret")).answer() is None


def test_a_session_ends_unless_its_client_proves_itself_again(kafka: Kafka, guarded: Guarded) -> None:
    """KIP-368. The token's end is one limit, the listener's lifetime the other; a connection cannot change its user."""
    good = authenticate(bearer(ISSUES.token(lifetime_s=600)))
    with Connection(guarded.short) as client:
        for _ in range(3):
            assert client.send(handshake("OAUTHBEARER"), good).error() == 0
            assert client.outcome() == (0, "", b"", 1500)
            assert client.send(metadata()).answer()
        assert client.send(handshake("OAUTHBEARER"), authenticate(bearer(ISSUES.token("bob")))).error() == 0
        error, message, _, _ = client.outcome() or (0, "", b"", 0)
        assert error == FAILED and "cannot change its user" in message
        assert client.answer() is None
    with Connection(guarded.short) as client:
        assert client.send(handshake("OAUTHBEARER"), good).error() == 0
        assert client.outcome() == (0, "", b"", 1500)
        while client.send(metadata()).answer():
            pass
    assert guarded.sidecar.metric("midstream_errors_total", kind="session_expired") == 1
    with Connection(guarded.port) as client:  # a token's own end, where the listener has none
        assert client.send(handshake("OAUTHBEARER"), authenticate(bearer(ISSUES.token(lifetime_s=100)))).error() == 0
        error, _, _, lifetime = client.outcome() or (1, "", b"", 0)
        assert error == 0 and 0 < lifetime <= 100_000


def test_who_proves_nothing_in_time_is_closed_and_has_no_broker_connection(guarded: Guarded) -> None:
    with Connection(guarded.hasty) as silent, Connection(guarded.hasty) as begun:
        assert begun.send(handshake("PLAIN")).error() == 0
        assert guarded.sidecar.metric("midstream_pool_connections", backend="hasty") == 0
        assert silent.answer() is None and begun.answer() is None
    assert guarded.sidecar.metric("midstream_errors_total", listener="hasty", kind="login_timeout") == 2
