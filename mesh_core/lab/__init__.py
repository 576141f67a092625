"""The lab: real servers on loopback, started and stopped by readable verbs, for the demo, the tests and the benches.

Every server lives in a temporary directory of its own on ports that nobody else has, is ready when `start` returns (a
client has logged in), and is gone when this process is, however it ended. Verbs are synchronous; below an event loop
call them through `asyncio.to_thread`. As root the PostgreSQL servers run as `nobody`.
"""

from .errors import LabError, Missing
from .etcd import Etcd
from .kafka import Kafka, MockKafka
from .postgres import Postgres, Standby
from .redis import RedisServer
from .redis_cluster import RedisCluster
from .redis_sentinel import RedisSentinels
from .wait import start_all, stop_all, until, until_true

__all__ = [
    "Etcd",
    "Kafka",
    "LabError",
    "Missing",
    "MockKafka",
    "Postgres",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "Standby",
    "start_all",
    "stop_all",
    "until",
    "until_true",
]
