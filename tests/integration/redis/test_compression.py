"""Routes whose values are compressed: clients see what they wrote, the cluster has less."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from mesh_core.lab import RedisCluster, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import connect, objects

LONG = "value " * 1000
MAGIC = b"\xffMZ\x01"

ROUTES = """
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {name: packed}
spec:
  listeners: [cache]
  routes: [{prefix: "packed:", backend: cache, compression: {algorithm: ALGORITHM, minBytes: 64}}]
"""


def serve(cluster: RedisCluster, sidecar: Callable[..., Sidecar], algorithm: str = "lz4") -> int:
    port = ports.free()
    sidecar(objects(cluster.addresses, port, more=ROUTES.replace("ALGORITHM", algorithm)))
    return port


def pairs(reply: list[Any]) -> list[tuple[str, str]]:
    """Fields and values, which RESP2 has in turn and RESP3 in pairs, in order."""
    flat = [word for part in reply for word in (part if isinstance(part, list) else [part])]
    return sorted(zip(flat[::2], flat[1::2], strict=True))


def story(client: redis.Redis, prefix: str) -> list[Any]:
    """What a client sees of a bit of everything; the same whatever the prefix."""
    key = f"{prefix}{{1}}"
    other = f"{prefix}other"
    return [
        client.set(key, LONG),
        client.get(key),
        client.mset({key: LONG, other: "short"}),
        client.mget([key, other, f"{prefix}none"]),
        client.set(other, LONG, get=True),
        client.getex(other, ex=100),
        client.getdel(other),
        client.hset(f"{key}:h", mapping={"a": LONG, "b": "short", "c": "1"}),
        client.hgetall(f"{key}:h"),
        client.hmget(f"{key}:h", ["b", "a", "x"]),
        sorted(client.hvals(f"{key}:h")),
        client.hincrbyfloat(f"{key}:h", "c", 0.5),
        client.hscan(f"{key}:h"),
        pairs(client.hrandfield(f"{key}:h", 3, withvalues=True)),
        client.copy(key, f"{key}:copy"),
        client.get(f"{key}:copy"),
        client.rename(f"{key}:copy", f"{prefix}far"),
        client.get(f"{prefix}far"),
        client.incrbyfloat(f"{prefix}n", 1.5),
        client.rpush(f"{prefix}l", LONG, "x"),
        client.lrange(f"{prefix}l", 0, -1),
        client.lrem(f"{prefix}l", 0, LONG),
        client.pipeline(transaction=True).set(key, LONG).delete(f"{key}:h").execute(),
        client.pipeline(transaction=False).get(key).get(f"{prefix}far").mget([key, f"{prefix}far"]).execute(),
    ]


@pytest.mark.parametrize(("protocol", "algorithm"), [(2, "lz4"), (3, "zstd")])
def test_clients_see_what_they_wrote(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar], protocol: int, algorithm: str) -> None:
    client = connect(serve(redis_cluster, sidecar, algorithm), protocol=protocol)
    for key in [*client.scan_iter("packed:*"), *client.scan_iter("plain:*")]:
        client.delete(key)
    assert story(client, "packed:") == story(client, "plain:")


def test_the_cluster_has_less_and_other_bytes_are_never_taken_for_ours(redis_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    port = serve(redis_cluster, sidecar)
    raw = redis.Redis(port=port, socket_timeout=60)
    direct = redis.RedisCluster.from_url(f"redis://{redis_cluster.addresses[0]}")
    raw.set("packed:k", LONG)
    assert direct.get("packed:k").startswith(MAGIC + b"\x01")
    assert direct.strlen("packed:k") < len(LONG) // 10
    for value in (MAGIC, MAGIC + b"\x01\0\0\0\x05abc", b""):
        raw.set("packed:k", value)
        assert raw.get("packed:k") == value
    # What was there before is read as it is; a damaged one is said to be.
    direct.set("packed:k", "before")
    assert raw.get("packed:k") == b"before"
    direct.set("packed:k", MAGIC + b"\x01\0\0\0\x05abc")
    with pytest.raises(redis.ResponseError, match="damaged"):
        raw.get("packed:k")
    with pytest.raises(redis.ResponseError, match="STRLEN is not supported: values of its route are compressed"):
        raw.strlen("packed:k")
    # By another, which reads it; then not any more: it is still read.
    raw.set("packed:k", LONG)
    other = redis.Redis(port=serve(redis_cluster, sidecar, "zstd"), socket_timeout=60)
    assert other.get("packed:k") == LONG.encode()
    other.set("packed:k", LONG)
    assert direct.get("packed:k").startswith(MAGIC + b"\x02")
    assert raw.get("packed:k") == LONG.encode()
    later = redis.Redis(port=serve(redis_cluster, sidecar, "none"), socket_timeout=60)
    assert later.get("packed:k") == LONG.encode()
    later.set("packed:k", LONG)
    assert direct.get("packed:k") == LONG.encode()
    direct.delete("packed:k")
