"""What the command lines of the engines' suites have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mesh_core.lab import Missing

from . import fetch, report
from .compare import Accepted, Verdict, expected
from .run import both


def main(engine: str, suites: Mapping[str, Callable[[], Any]], make_stage: Callable[[], Any]) -> int:
    """`engine` names the folder beside this file; exits 1 when a difference is not explained."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.conformance.{engine}")
    parser.add_argument("suites", nargs="*", choices=[[], *suites], metavar="SUITE", help=", ".join(suites))
    parser.add_argument("--out", type=Path, default=Path("dist/conformance") / engine, help="folder for outputs and reports")
    options = parser.parse_args()
    accepted = expected(Path(__file__).parent / engine / "expected.toml")
    try:
        with make_stage() as stage:
            return _all(stage, {name: suites[name] for name in options.suites or suites}, accepted, options.out)
    except Missing as missing:
        print(f"not installed: {missing.package}; run .ci/servers as root", file=sys.stderr)
        return 1


def _all(stage: Any, suites: Mapping[str, Callable[[], Any]], accepted: list[Accepted], out: Path) -> int:
    verdicts: list[Verdict] = []
    missing: dict[str, str] = {}
    for name, suite in suites.items():
        try:
            verdicts.append(both(stage, suite(), accepted, out, lambda line: print(line, file=sys.stderr, flush=True)))
        except fetch.Unavailable as why:
            missing[name] = str(why)
    text = f"{stage.version()}\n{report.table(verdicts, missing)}\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.txt").write_text(text)
    print(text)
    return 0 if verdicts and all(one.is_good for one in verdicts) else 1
