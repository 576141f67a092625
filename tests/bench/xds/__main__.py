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
    parser.add_argument("--plain", action="store_true", help="leave the second run, with mutual TLS, out")
    options = parser.parse_args()
    runs = {"plain": _run(options, tls=False)}
    if not options.plain:
        runs["mutual TLS"] = _run(options, tls=True)
    _show(runs, options.sidecars, options.resources)
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "sidecars": options.sidecars, "resources": options.resources}
    document["runs"] = {name: [figure._asdict() for figure in figures] for name, figures in runs.items()}
    (options.out / "xds.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _run(options: argparse.Namespace, *, tls: bool) -> list[Figure]:
    server = Server(tls=tls)
    bench = Bench(server, options.sidecars, options.resources)
    try:
        return [figure for name in PHASES if name in options.phase for figure in _said(PHASES[name](bench))]
    finally:
        bench.fleet.close()
        server.close()


def _said(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(f"{figure.what}: {figure.value:.3g} {figure.unit}  (target {figure.target or '-'})", file=sys.stderr, flush=True)
    return figures


def _show(runs: dict[str, list[Figure]], sidecars: int, resources: int) -> None:
    """The target is for both; the first run is judged."""
    table = Table("what", *runs, "target", "", title=f"{sidecars} sidecars x {resources} resources, {machine()}")
    for row in zip(*runs.values(), strict=True):
        figure = row[0]
        verdict = "" if figure.target is None else "[green]met[/]" if figure.value <= figure.target else "[red]missed[/]"
        target = "" if figure.target is None else f"<= {figure.target:g} {figure.unit}"
        table.add_row(figure.what, *(f"{one.value:.3g} {one.unit}" for one in row), target, verdict)
    Console(width=140).print(table)


if __name__ == "__main__":
    sys.exit(main())
