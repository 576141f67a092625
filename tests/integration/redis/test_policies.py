"""AccessPolicies and RateLimits as a Redis client sees them: keys, groups of commands, channels, identities."""

from collections.abc import Callable

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

RULES = """
---
apiVersion: midstream/v1
kind: AccessPolicy
metadata: {name: tenant}
spec:
  listeners: [cache]
  identities: ["user:tenant", anonymous]
  rules:
    - {deny: ["*"], verbs: ["@dangerous", "@scripting"]}
    - {allow: ["*"], verbs: ["@connection", "@transaction", "ACL WHOAMI"]}
    - {allow: [read, write], resources: ["tenant:*", "&tenant:*"]}
    - {allow: [read], resources: ["shared:*"]}
---
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: lists}
spec: {listeners: [cache], match: {verbs: ["@list"], resources: ["tenant:limited"]}, limit: {requests: 2, per: 1h, each: identity}}
"""


@pytest.fixture
def login(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], monkeypatch: pytest.MonkeyPatch) -> Callable[..., redis.Redis]:
    """``login("tenant")`` is a client of that user."""
    monkeypatch.setenv("POLICIES_PASSWORD", "secret")
    port = ports.free()
    users = ", ".join(f"{{name: {name}, passwordFrom: {{env: POLICIES_PASSWORD}}}}" for name in ("default", "tenant", "other"))
    sidecar(objects(redis_cluster.addresses, port, listener=f", users: [{users}]", more=RULES))
    return lambda name="default", **options: connect(port, username=name, password="secret", **options)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_tenant_has_its_keys_commands_and_channels(login: Callable[..., redis.Redis], protocol: int) -> None:
    tenant, free = login("tenant", protocol=protocol), login()
    free.flushall()
    assert tenant.acl_whoami() == "tenant"
    assert tenant.mset({"tenant:a": 1, "tenant:b": 2})
    assert tenant.get("shared:x") is None
    assert tenant.pipeline().incr("tenant:a").get("tenant:{tenant:a}").execute() == [2, None]
    subscriber = tenant.pubsub()
    subscriber.subscribe("tenant:news")
    subscriber.psubscribe("tenant:*")
    assert [subscriber.get_message(timeout=10)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    assert tenant.publish("tenant:news", "hello") == 2
    subscriber.unsubscribe()
    for denied in (
        lambda: tenant.set("shared:x", 1), lambda: tenant.mget("tenant:a", "other"), lambda: tenant.keys("*"), tenant.flushall,
        lambda: tenant.eval("return 1", 0), lambda: tenant.eval("return 1", 1, "tenant:a"), lambda: tenant.publish("news", "x"),
        lambda: tenant.spublish("news", "x"), lambda: tenant.client_list(), lambda: tenant.config_get("*"),
        lambda: tenant.sort("tenant:a", by="secret_*"), lambda: tenant.rename("tenant:a", "other"), tenant.randomkey, tenant.dbsize,
        lambda: tenant.pipeline().set("other", 1).execute(),
    ):  # fmt: skip
        with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ExecAbortError, redis.ResponseError), match="AccessPolicy/tenant"):
            denied()
    with pytest.raises(redis.exceptions.NoPermissionError, match=r'PSUBSCRIBE .* of "&\*" to user:tenant'):
        wide = tenant.pubsub()
        wide.psubscribe("*")
        wide.get_message(timeout=10)
    assert free.keys("other") == []


def test_each_identity_has_its_own_tokens(login: Callable[..., redis.Redis]) -> None:
    free, tenant = login(), login("tenant")
    free.delete("tenant:limited")
    for client in (free, tenant, login("other")):
        # A command that waits for those before it takes one token, not one for each time it is looked at.
        with client.pipeline(transaction=False) as pipe:
            pipe.rpush("tenant:limited", 1).blpop("tenant:limited", 1)
            assert pipe.execute() == [1, ("tenant:limited", "1")]
        with pytest.raises(redis.ResponseError, match="RateLimit/lists allows 2 requests per 3600000 ms and identity"):
            client.rpush("tenant:limited", 2)


def test_a_group_that_is_none_is_refused(redis_cluster: RedisCluster, tmp_path) -> None:
    text = objects(redis_cluster.addresses, ports.free(), more=RULES.replace("@dangerous", "@dangrous"))
    with pytest.raises(Exception, match="there is no group @dangrous of commands"):
        Sidecar(text, tmp_path).start()
