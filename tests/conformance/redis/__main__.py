"""`python -m tests.conformance.redis [SUITE ...] [--out FOLDER]`; exits 1 when a difference is not explained."""

import sys

from ..main import main
from .stage import Stage
from .suites import SUITES

if __name__ == "__main__":
    sys.exit(main("redis", SUITES, Stage))
