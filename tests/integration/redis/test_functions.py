"""A master that has no functions is given those of the others when one is called there."""

from mesh_core.lab import RedisCluster
from tests.integration.redis.conftest import Client

LIBRARY = """#!lua name=shop
redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
"""


def test_functions_are_fetched_where_they_are_missing(redis_cluster: RedisCluster, mesh: Client) -> None:
    client = mesh()
    client.function_load(LIBRARY, replace=True)
    masters = [redis_cluster.master(shard) for shard in range(3)]
    for master in masters[1:]:
        master.command("FUNCTION", "FLUSH")
    # a, b and c are in slots of three masters.
    assert [client.fcall("put", 1, key, key) for key in "abc"] == ["OK", "OK", "OK"]
    assert client.mget("a", "b", "c") == ["a", "b", "c"]
    assert all("shop" in str(master.command("FUNCTION", "LIST")) for master in masters)
    client.function_delete("shop")
