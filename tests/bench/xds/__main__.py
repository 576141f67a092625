"""`python -m tests.bench.xds [--sidecars 5000] [--resources 1000] [--tls]`: figures of one control plane beside their targets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.report import machine
from tests.bench.xds.phases import PHASES, Bench, Figure
from tests.bench.xds.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.xds", description="one control plane under many sidecars")
    parser.add_argument("--sidecars", type=int, default=5000)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--phase", nargs="+", choices=PHASES, default=list(PHASES), help="after the first, which is always run")
    parser.add_argument("--out", type=Path, default=Path("dist/bench"), help="folder for xds.json")
    options = parser.parse_args()
    server = Server()
    try:
        bench = Bench(server, options.sidecars, options.resources)
        figures = [figure for name in PHASES if name in options.phase for figure in _said(PHASES[name](bench))]
    finally:
        server.close()
    _show(figures, options.sidecars, options.resources)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "xds.json").write_text(json.dumps([figure._asdict() for figure in figures], indent=1) + "\n")
    return 0


def _said(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(f"{figure.what}: {figure.value:.3g} {figure.unit}  (target {figure.target or '-'})", file=sys.stderr, flush=True)
    return figures


def _show(figures: list[Figure], sidecars: int, resources: int) -> None:
    table = Table("what", "measured", "target", "", title=f"{sidecars} sidecars x {resources} resources, {machine()}")
    for figure in figures:
        verdict = "" if figure.target is None else "[green]met[/]" if figure.value <= figure.target else "[red]missed[/]"
        target = "" if figure.target is None else f"<= {figure.target:g} {figure.unit}"
        table.add_row(figure.what, f"{figure.value:.3g} {figure.unit}", target, verdict)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
