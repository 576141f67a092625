"""`python -m tests.bench [--rounds 5] [--family redis ...] [--scale 1] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from mesh_core.lab import Missing
from tests.bench import postgres, report
from tests.bench.kafka import Kafka
from tests.bench.ladder import Family, Results, climb
from tests.bench.near import Near
from tests.bench.postgres import Crowd, PostgreSQL
from tests.bench.redis import Redis

FAMILIES: dict[str, type[Family]] = {"redis": Redis, "near": Near, "postgres": PostgreSQL, "crowd": Crowd, "kafka": Kafka}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="CPU of the proxy per operation, beside its peers")
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a figure that is to be quoted")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--scale", type=float, default=1.0, help="length of each run, 1 = some seconds")
    parser.add_argument("--out", type=Path, default=Path("dist/bench"), help="folder for results.json and results.md")
    options = parser.parse_args()
    os.environ["BENCH_PASSWORD"] = postgres.PASSWORD
    try:
        results = [_measure(FAMILIES[name](), options.rounds, options.scale) for name in options.family]
    except Missing as missing:
        print(f"not installed: {missing.package}; run .ci/servers bench as root, or leave the family out with --family", file=sys.stderr)
        return 1
    report.show(results, options.rounds)
    report.save(results, options.rounds, options.out)
    print(f"written to {options.out}/results.json and results.md")
    return 0


def _measure(family: Family, rounds: int, scale: float) -> Results:
    with ExitStack() as stack:
        rungs = family.start(stack, scale)
        return climb(family, rungs, rounds, scale, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
