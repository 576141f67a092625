"""ACLs of a tenant are on what is its own, on a broker that has an authorizer."""

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from mesh_core.lab import Kafka, ports
from tests.conftest import start
from tests.integration.kafka.test_librdkafka import DEADLINE_S
from tests.integration.kafka.test_virtual import OBJECTS, TENANT
from tests.integration.process import Sidecar

AUTHORIZER = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"}
TOPIC, GROUP, BROKER, ANY = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.BROKER, ResourceType.ANY
LITERAL, PREFIXED, MATCH = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED, ResourcePatternType.MATCH
READ, ALLOW, WAIT = AclOperation.READ, AclPermissionType.ALLOW, {"request_timeout": DEADLINE_S}


@pytest.fixture
def guarded() -> Iterator[Kafka]:
    broker = start(lambda: Kafka(settings=AUTHORIZER).start())
    yield broker
    broker.kill()


def acl(kind: ResourceType, name: str, pattern: ResourcePatternType = LITERAL) -> AclBinding:
    return AclBinding(kind, name, pattern, "User:ann", "*", READ, ALLOW)


def matching(kind: ResourceType, name: str | None, pattern: ResourcePatternType) -> AclBindingFilter:
    return AclBindingFilter(kind, name, pattern, None, None, AclOperation.ANY, AclPermissionType.ANY)


def create(admin: AdminClient, *acls: AclBinding) -> None:
    for made in admin.create_acls(list(acls), **WAIT).values():
        made.result(DEADLINE_S)


def names(admin: AdminClient, asked: AclBindingFilter) -> set[tuple[str, ResourcePatternType]]:
    return {(found.name, found.resource_pattern_type) for found in admin.describe_acls(asked, **WAIT).result(DEADLINE_S)}


def test_acls_are_on_what_is_the_tenants(guarded: Kafka, sidecar: Callable[..., Sidecar]) -> None:
    behind = ports.free_range(3)
    tenant = TENANT.format(name="one", port=behind[0], first=behind[1], last=behind[2], advertised=behind[1], aliases="shared: of-all")
    sidecar(OBJECTS.format(broker=guarded.bootstrap()[0]) + tenant)
    direct = AdminClient({"bootstrap.servers": guarded.bootstrap()[0]})
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{behind[0]}"})
    create(direct, acl(TOPIC, "*"), acl(TOPIC, "of-others"), acl(TOPIC, "physical", PREFIXED))
    create(admin, acl(TOPIC, "orders"), acl(TOPIC, "shared"), acl(GROUP, "*"), acl(TOPIC, "pre", PREFIXED))

    everything = matching(ANY, None, ResourcePatternType.ANY)
    assert names(admin, everything) == {("orders", LITERAL), ("shared", LITERAL), ("*", LITERAL), ("pre", PREFIXED)}
    made = {("physical-one.orders", LITERAL), ("of-all", LITERAL), ("physical-one.", PREFIXED), ("physical-one.pre", PREFIXED)}
    there = {("*", LITERAL), ("of-others", LITERAL), ("physical", PREFIXED)}
    assert names(direct, everything) == made | there
    assert names(admin, matching(TOPIC, "prefix", MATCH)) == {("pre", PREFIXED)}

    for wide, error in (
        (matching(TOPIC, None, ResourcePatternType.ANY), KafkaError.INVALID_REQUEST),
        (matching(TOPIC, "orders", MATCH), KafkaError.INVALID_REQUEST),
        (matching(BROKER, "kafka-cluster", LITERAL), KafkaError.CLUSTER_AUTHORIZATION_FAILED),
    ):
        with pytest.raises(KafkaException) as refused:
            admin.delete_acls([wide], **WAIT)[wide].result(DEADLINE_S)
        assert refused.value.args[0].code() == error
    for own in (matching(TOPIC, "orders", LITERAL), matching(GROUP, "*", LITERAL), matching(TOPIC, "shared", ResourcePatternType.ANY)):
        assert len(admin.delete_acls([own], **WAIT)[own].result(DEADLINE_S)) == 1
    assert names(direct, everything) == there | {("physical-one.pre", PREFIXED)}
