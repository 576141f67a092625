"""Django's tests that need a database: its ORM, its PostgreSQL fields, its transactions, on psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...suite import HOST, Command, Sdist
from ..suite import USER, Side, Suite

VERSION = "5.2.19"
LABELS = (
    "backends basic transactions transaction_hooks queries postgres_tests introspection inspectdb schema constraints indexes "
    "aggregation annotations expressions expressions_window lookup select_for_update bulk_create get_or_create update delete "
    "custom_pk composite_pk datatypes db_functions model_fields raw_query many_to_many prefetch_related timezones multiple_database "
    "sessions_tests migrations fixtures"
)
SETTINGS = """
def database(port, name):
    return {{
        "ENGINE": "django.db.backends.postgresql", "HOST": "{host}", "PORT": port, "USER": "{user}", "NAME": name, "TEST": {{"NAME": name}},
    }}

DATABASES = {{"default": database({ports[0]}, "{names[0]}"), "other": database({ports[1]}, "{names[1]}")}}
SECRET_KEY = "conformance"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "xmlrunner.extra.djangotestrunner.XMLTestRunner"
TEST_OUTPUT_DIR = "{report}"
"""


class Django(Suite):
    """Its runner keeps the two databases: through the mesh a database that it made itself would be the listener's again."""

    name = "django"
    source = Sdist("django", VERSION)
    requirements = (f"Django=={VERSION}", "psycopg[binary]==3.3.9", "unittest-xml-reporting>=3.2,<5", "tblib", "Pillow", "jinja2", "PyYAML")
    databases = ("django_default", "django_other")
    deadline_s = 3600

    def command(self, tests: Path, scratch: Path, side: Side, only: Sequence[str]) -> Command:
        report = scratch / "report"
        settings = SETTINGS.format(host=HOST, user=USER, ports=side.ports, names=side.databases, report=report)
        (scratch / "conformance_settings.py").write_text(settings)
        # A subtest's name goes on behind a blank.
        labels = sorted({name.partition(" ")[0].replace("::", ".") for name in only}) or LABELS.split()
        argv = ["python", "runtests.py", "--settings=conformance_settings", "--keepdb", "--noinput", "--parallel=1", *labels]
        return Command(argv, tests / "tests", report, {"PYTHONPATH": str(scratch)})
