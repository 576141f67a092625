"""What each client library raises for which trouble."""

from __future__ import annotations

import asyncio

import asyncpg  # type: ignore[import-untyped]
import redis
from aiokafka import errors as kafka  # type: ignore[import-untyped]

from ..ledger import Trouble

DROPPED: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # asyncpg: "connection is closed"
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    redis.ConnectionError,
    kafka.KafkaConnectionError,
    kafka.NodeNotReadyError,
    OSError,
)
LATE: tuple[type[BaseException], ...] = (asyncio.TimeoutError, redis.TimeoutError, kafka.KafkaTimeoutError)
REFUSED: tuple[type[BaseException], ...] = (asyncpg.PostgresError, redis.ResponseError, kafka.BrokerResponseError)


def classify(error: BaseException) -> Trouble:
    if isinstance(error, LATE):  # before DROPPED: asyncio's TimeoutError is an OSError
        return "late"
    if isinstance(error, DROPPED):
        return "dropped"
    return "refused" if isinstance(error, REFUSED) else "failed"
