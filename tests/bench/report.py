"""The results for people (a table), for machines (JSON) and for the README (Markdown)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.ladder import PEERS, Results, Verdict, Workload
from tests.bench.measure import Spread

CALLED = {"cpu": "CPU", "rate": "throughput", "p99": "99th percentile", "added p50": "added to the median"}
PER_UNIT = {"us": 1e6, "s/GB": 1.0}


def show(results: list[Results], rounds: int) -> None:
    console = Console(width=120)
    table = Table(
        "family", "workload", "rung", "CPU", "rate /s", "CPU to the peer's", title=f"{machine()}, one worker, {rounds} rounds: median (range)"
    )
    listed = list(rows(results))
    for row, following in zip(listed, [*listed[1:], None], strict=True):
        table.add_row(*row, end_section=following is None or following[1] != row[1])
    console.print(table)
    table = Table("family", "what was promised", "limit", "measured", "", title="targets")
    for found, verdict in _verdicts(results):
        said = {"pass": "green", "misses": "red"}.get(verdict.said, "yellow")
        table.add_row(found.family.name, promise(verdict), limit(verdict), measured(verdict), f"[{said}]{verdict.said}[/]")
    console.print(table)


def save(results: list[Results], rounds: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "rounds": rounds, "families": {found.family.name: _plain(found) for found in results}}
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(results, rounds))


def markdown(results: list[Results], rounds: int) -> str:
    lines = [f"{machine()}, one worker, {rounds} interleaved rounds, CPU of the proxy's process per operation: median (range).", ""]
    lines += ["| | workload | " + " | ".join(("rung", "CPU", "to the peer's")) + " |", "|---|---|---|---|---|"]
    lines += [f"| {family} | {workload} | {rung} | {cpu} | {ratio} |" for family, workload, rung, cpu, _, ratio in rows(results) if cpu != "-"]
    lines += ["", "| target | limit | measured | |", "|---|---|---|---|"]
    for found, verdict in _verdicts(results):
        lines.append(f"| {found.family.name}: {promise(verdict)} | {limit(verdict)} | {measured(verdict)} | {verdict.said} |")
    return "\n".join(lines) + "\n"


def rows(results: list[Results]) -> Iterator[tuple[str, ...]]:
    """Family, workload, rung, CPU, rate, ratio to the family's peer."""
    for found in results:
        for workload in found.family.workloads:
            measured = sorted(found.rungs(workload), key=lambda one: _place(one[0]))
            for rung, cpu, rate in measured:
                ratio = _to_peer(found, workload, rung)
                yield (
                    found.family.name,
                    workload.name,
                    rung,
                    "-" if cpu.median == 0 else f"{spread(cpu, PER_UNIT[workload.unit])} {workload.unit}",
                    rates(rate, "MB" if workload.unit == "s/GB" else ""),
                    "" if ratio is None else spread(ratio),
                )


def promise(verdict: Verdict) -> str:
    target = verdict.target
    theirs = target.theirs[0] if target.theirs[1] == target.workload else " ".join(target.theirs)
    return f"{target.workload}, {target.ours}: {CALLED[target.what]} {'of' if target.what == 'added p50' else 'to'} {theirs}"


def limit(verdict: Verdict) -> str:
    value = f"{verdict.target.limit * 1e3:g} ms" if verdict.target.what == "added p50" else f"{verdict.target.limit:g}"
    return f"{'>=' if verdict.target.is_floor else '<='} {value}"


def measured(verdict: Verdict) -> str:
    return f"{spread(verdict.ratio, 1e3)} ms" if verdict.target.what == "added p50" else spread(verdict.ratio)


def spread(value: Spread, factor: float = 1.0) -> str:
    median, low, high = (f"{one * factor:.3g}" for one in value)
    return f"{median} ({low} to {high})"


def rates(value: Spread, unit: str) -> str:
    factor, unit = (1e-3, "k") if value.median >= 1_000 else (1.0, unit)
    return f"{spread(value, factor)} {unit}"


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _to_peer(found: Results, workload: Workload, rung: str) -> Spread | None:
    """To the peer of the family's first target, the one that users would compare with."""
    peer, theirs = found.family.targets[0].theirs
    if rung in ("direct", peer):
        return None
    return found.ratio(workload.name, rung, (peer, workload.name if (workload.name, peer) in found.samples else theirs))


def _place(rung: str) -> tuple[bool, int, str]:
    order = ("direct", "relay", "parse", "others", "route", "chain")
    return rung in PEERS, order.index(rung) if rung in order else 0, rung


def _verdicts(results: list[Results]) -> Iterable[tuple[Results, Verdict]]:
    return ((found, verdict) for found in results for verdict in found.verdicts())


def _plain(found: Results) -> dict[str, object]:
    samples = {f"{workload}/{rung}": [one._asdict() for one in values] for (workload, rung), values in found.samples.items()}
    verdicts = [{"target": promise(one), "limit": limit(one), "ratio": one.ratio._asdict(), "verdict": one.said} for one in found.verdicts()]
    return {"samples": samples, "targets": verdicts}
