"""The suites by name, in the order of their length."""

from __future__ import annotations

from ..suite import Suite
from .asyncpg import Asyncpg
from .django import Django
from .psycopg import Psycopg
from .psycopg2 import Psycopg2
from .sqlalchemy import SqlalchemyAsyncpg, SqlalchemyPsycopg, SqlalchemyPsycopg2

SUITES: dict[str, type[Suite]] = {
    suite.name: suite for suite in (Asyncpg, Psycopg2, Psycopg, SqlalchemyPsycopg2, SqlalchemyPsycopg, SqlalchemyAsyncpg, Django)
}
