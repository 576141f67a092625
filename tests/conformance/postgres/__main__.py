"""`python -m tests.conformance.postgres [SUITE ...] [--out FOLDER]`; exits 1 when a difference is not explained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mesh_core.lab import Missing

from . import fetch, report
from .compare import Verdict, expected
from .run import both
from .stage import Stage
from .suites import SUITES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.postgres", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES], metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--out", type=Path, default=Path("dist/conformance/postgres"), help="folder for outputs and reports")
    options = parser.parse_args()
    try:
        with Stage() as stage:
            return _all(stage, options.suites or list(SUITES), options.out)
    except Missing as missing:
        print(f"not installed: {missing.package}; run .ci/servers as root", file=sys.stderr)
        return 1


def _all(stage: Stage, names: list[str], out: Path) -> int:
    accepted = expected()
    verdicts: list[Verdict] = []
    missing: dict[str, str] = {}
    for name in names:
        try:
            verdicts.append(both(stage, SUITES[name](), accepted, out, lambda line: print(line, file=sys.stderr, flush=True)))
        except fetch.Unavailable as why:
            missing[name] = str(why)
    text = f"PostgreSQL {stage.version()}\n{report.table(verdicts, missing)}\n"
    (out / "report.txt").write_text(text)
    print(text)
    return 0 if verdicts and all(one.is_good for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
