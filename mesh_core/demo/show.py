"""What a person sees: a live table while it runs, and a summary at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .ledger import Ledger, Tally
from .scene import Promise

LINES = 8  # of narration kept on the screen


class Narrator:
    """Keeps the latest lines for the live view; without a terminal they are printed as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.lines: deque[str] = deque(maxlen=LINES)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False)


class Screen:
    """Rendered again and again by rich's Live. `rows` are of the table orders, per shard."""

    def __init__(self, ledger: Ledger, narrator: Narrator, position: Callable[[], str]) -> None:
        self._ledger, self._narrator, self._position = ledger, narrator, position
        self.rows: list[int] = []

    def __rich__(self) -> RenderableType:
        table = operations(self._ledger.here(), self._ledger.rate)
        shards = Text("orders per shard: " + "  ".join(f"s{index} {count}" for index, count in enumerate(self.rows)), style="cyan")
        story = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self._narrator.lines]
        return Group(Text(self._position(), style="bold"), table, shards, *story)


def operations(tallies: dict[str, Tally], rate: Callable[[str], float] | None = None) -> Table:
    """One line per operation; troubles only where there are any."""
    table = Table(box=None, pad_edge=False)
    table.add_column("operation")
    for heading in ("per second" if rate else "done", "p50 ms", "p99 ms", "refused", "dropped", "late", "failed"):
        table.add_column(heading, justify="right")
    for name in sorted(tallies):
        tally = tallies[name]
        count = f"{rate(name):.0f}" if rate else str(tally.done)
        marks = [_mark(tally.troubles[trouble]) for trouble in ("refused", "dropped", "late", "failed")]
        table.add_row(name, count, f"{tally.percentile_ms(50):.1f}", f"{tally.percentile_ms(99):.1f}", *marks)
    return table


def kept_promises(title: str, promises: list[Promise]) -> RenderableType:
    lines: list[RenderableType] = [Text(f"\n{title}", style="bold")] if title else []
    for promise in promises:
        verdict = Text("  kept    ", style="green") if promise.kept else Text("  BROKEN  ", style="bold red")
        lines.append(verdict + Text(promise.text, style="") + Text(f"  ({promise.figure})" if promise.figure else "", style="dim"))
    return Group(*lines)


def summary(ledger: Ledger, rows: list[int]) -> RenderableType:
    """Latency and errors per family and scene, and where the rows are."""
    table = Table(title="\nWhat the shop's clients saw", title_justify="left", box=None, pad_edge=False)
    table.add_column("scene", no_wrap=True)
    for family in ("sql", "cache", "kafka"):
        table.add_column(f"   {family}", justify="right", no_wrap=True)
        table.add_column("p50 / p99 ms", justify="right", no_wrap=True)
        table.add_column("errors", justify="right", no_wrap=True)
    for scene, tallies in ledger.tallies.items():
        cells = [cell for family in ("sql", "cache", "kafka") for cell in _family(tallies, family)]
        table.add_row(scene, *cells)
    shards = "  ".join(f"s{index}: {count}" for index, count in enumerate(rows))
    return Group(table, Text(f"\nrows of `orders` per shard   {shards}   (moving rows that exist already is not done yet)"))


def _family(tallies: dict[str, Tally], family: str) -> tuple[str, str, str]:
    whole = Tally()
    for name, tally in tallies.items():
        if name.startswith(family):
            whole.latencies += tally.latencies
            whole.troubles += tally.troubles
    return str(whole.done), f"{whole.percentile_ms(50):.1f} / {whole.percentile_ms(99):.1f}", _mark(whole.troubles.total())


def _mark(count: int) -> str:
    return str(count) if count else "·"
