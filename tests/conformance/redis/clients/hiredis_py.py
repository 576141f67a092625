"""What redis-py with hiredis' parser sees."""

import sys

import redis
from redis.utils import HIREDIS_AVAILABLE

client = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
print("parser", HIREDIS_AVAILABLE)
client.flushall()
print("set", client.set("a", 1), client.mset({"b": 2, "c": 3}), client.mget("a", "b", "c", "none"))
with client.pipeline(transaction=False) as pipe:
    print("pipeline", pipe.incr("a").get("b").hset("h", "f", "v").hgetall("h").execute())
with client.pipeline() as pipe:
    print("multi", pipe.incr("{t}x").get("{t}x").execute())
print("script", client.register_script("return redis.call('get', KEYS[1]) .. ARGV[1]")(["c"], ["!"]))
client.sadd("s1", "x", "y")
client.sadd("s2", "y", "z")
print("sinter", client.sinter("s1", "s2"), "scan", sorted(set(client.scan_iter())))
client.rpush("list", "pushed")
print("blpop", client.blpop(["list", "other"], 5))
with client.pubsub(ignore_subscribe_messages=True) as pubsub:
    pubsub.subscribe("news")
    pubsub.get_message(timeout=5)
    print("publish", client.publish("news", "hello"), pubsub.get_message(timeout=5)["data"])
print("large", len(client.get("large") or "") if client.set("large", "x" * 3_000_000) else None)
try:
    client.lpush("a", "x")
except redis.ResponseError as error:
    print("error", error)
