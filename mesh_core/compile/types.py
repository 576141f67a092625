"""The resource types a sidecar subscribes to, in push order."""

from xds.messages import type_url
from xds.protocol.types import CLUSTER, ENDPOINTS, LISTENER, SECRET, push_rank

_OURS = (
    "midstream.sql.v1.Database",
    "midstream.sql.v1.Sharding",
    "midstream.redis.v1.RedisCluster",
    "midstream.redis.v1.RedisRoutes",
    "midstream.redis.v1.RedisMirror",
    "midstream.redis.v1.RedisKeyStats",
    "midstream.redis.v1.RedisMigration",
    "midstream.kafka.v1.KafkaCluster",
    "midstream.kafka.v1.KafkaVirtualCluster",
    "midstream.kafka.v1.KafkaFederation",
    "midstream.kafka.v1.KafkaRecordPolicy",
    "midstream.kafka.v1.KafkaStats",
    "midstream.policy.v1.AccessPolicy",
    "midstream.policy.v1.RateLimit",
    "midstream.policy.v1.Fault",
    "midstream.policy.v1.Tap",
    "midstream.rollout.v1.Prepared",
)

SIDECAR_TYPES = tuple(sorted((SECRET, CLUSTER, ENDPOINTS, LISTENER, *map(type_url, _OURS)), key=push_rank))
