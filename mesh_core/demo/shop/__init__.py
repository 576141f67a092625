"""A small shop, written as any application would be: asyncpg, redis-py and aiokafka against localhost.

It knows no shard, no slot and no broker, and nothing of Midstream.
"""

from .shop import Addresses, Shop
from .troubles import classify

__all__ = ["Addresses", "Shop", "classify"]
