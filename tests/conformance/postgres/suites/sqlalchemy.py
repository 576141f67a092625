"""SQLAlchemy's tests of its PostgreSQL dialects: each on another driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...suite import HOST, Command, Sdist, pytest
from ..suite import USER, Side, Suite

VERSION = "2.0.58"
TESTS = ("test/dialect/postgresql", "test/dialect/test_suite.py")


class Sqlalchemy(Suite):
    """What its README.unittests asks of the database."""

    driver: str
    source = Sdist("sqlalchemy", VERSION)
    extensions = ("hstore", "citext")

    @property
    def statements(self) -> tuple[str, ...]:  # type: ignore[override]
        return (
            "create schema test_schema",
            "create schema test_schema_2",
            f"alter database {self.databases[0]} set default_text_search_config = 'pg_catalog.english'",
        )

    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        report = scratch / "report.xml"
        uri = f"postgresql+{self.driver}://{USER}@{HOST}:{side.port}/{side.database}"
        return Command(pytest(report, only, "--maxfail=100000", f"--dburi={uri}", *TESTS), tests, report)


def _requirements(driver: str) -> tuple[str, ...]:
    return (driver, "greenlet>=3", "typing-extensions>=4.6", "pytest>=8.4,<9", "pytest-timeout>=2.4,<3")


class SqlalchemyPsycopg2(Sqlalchemy):
    """The simple protocol."""

    name, driver, databases = "sqlalchemy-psycopg2", "psycopg2", ("sqlalchemy_psycopg2",)
    requirements = _requirements("psycopg2-binary==2.9.13")


class SqlalchemyPsycopg(Sqlalchemy):
    """psycopg 3: the extended protocol, pipelines."""

    name, driver, databases = "sqlalchemy-psycopg", "psycopg", ("sqlalchemy_psycopg",)
    requirements = _requirements("psycopg[binary]==3.3.9")


class SqlalchemyAsyncpg(Sqlalchemy):
    """asyncpg, with named prepared statements."""

    name, driver, databases = "sqlalchemy-asyncpg", "asyncpg", ("sqlalchemy_asyncpg",)
    requirements = _requirements("asyncpg==0.32.0")
