"""The verbs of `midstream migrate`. Exit codes as everywhere: 0 done; 1 failed (the clusters differ, a gate is shut); 2 wrong objects or command
line."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mesh_core.control.commands import ControlOption, errors, fail

if TYPE_CHECKING:
    from cache_mesh.migrate.drive import Drive

EXIT_FAILED = 1

Name = Annotated[str, typer.Argument(help="The RedisMigration's name.")]
From = Annotated[str, typer.Option("--from", help="The RedisCluster that has the keys.")]
To = Annotated[str, typer.Option("--to", help="The RedisCluster that gets them.")]
Prefixes = Annotated[list[str] | None, typer.Option("--prefix", help="Of keys, as the cluster names them; several may be given; none: all keys.")]
Without = Annotated[list[str] | None, typer.Option("--without", help="A sidecar that was connected once and is gone for good.")]
Rate = Annotated[int, typer.Option(min=1, help="Keys a second that are looked at, at most.")]
Repair = Annotated[bool, typer.Option("--repair", help="Copy what differs, and compare again until nothing does.")]
FenceSeconds = Annotated[float, typer.Option(min=0.1, help="How long writes may wait before all goes back.")]

app = typer.Typer(name="migrate", no_args_is_help=True, help="Moves keys from one RedisCluster to another while clients go on.")


def add_to(whole: typer.Typer) -> None:
    whole.add_typer(app)


@app.command()
def start(name: Name, from_: From, to: To, prefix: Prefixes = None, without: Without = None, control: ControlOption = "") -> None:
    """Begins: what is written goes to both clusters from now on. The old one serves."""
    with _drive(name, control, without) as drive:
        drive.start(from_, to, prefix or [])


@app.command()
def backfill(name: Name, rate: Rate = 20_000, without: Without = None, control: ControlOption = "") -> None:
    """Copies what was there before; goes on where it was stopped."""
    with _drive(name, control, without) as drive:
        asyncio.run(drive.backfill(rate))


@app.command()
def compare(name: Name, repair: Repair = False, rate: Rate = 20_000, without: Without = None, control: ControlOption = "") -> None:
    """Compares the clusters key by key: type, value, end. A clean result opens the way over the fence."""
    with _drive(name, control, without) as drive:
        asyncio.run(drive.compare(rate, repair=repair))


@app.command()
def cut_over(name: Name, fence_seconds: FenceSeconds = 5.0, without: Without = None, control: ControlOption = "") -> None:
    """The new cluster serves; the old one is kept current, for the way back."""
    with _drive(name, control, without, fence_seconds) as drive:
        drive.cut_over()


@app.command()
def roll_back(name: Name, fence_seconds: FenceSeconds = 5.0, without: Without = None, control: ControlOption = "") -> None:
    """One step back: after the cut-over the old cluster serves again; before it, double writing ends."""
    with _drive(name, control, without, fence_seconds) as drive:
        drive.roll_back()


@app.command()
def finish(name: Name, without: Without = None, control: ControlOption = "") -> None:
    """The old cluster is let go. There is no way back from here."""
    with _drive(name, control, without) as drive:
        drive.finish()


@app.command()
def run(
    name: Name,
    from_: From,
    to: To,
    prefix: Prefixes = None,
    rate: Rate = 20_000,
    fence_seconds: FenceSeconds = 5.0,
    without: Without = None,
    control: ControlOption = "",
) -> None:
    """start, backfill, compare --repair and cut-over in turn; goes on where it was stopped."""
    with _drive(name, control, without, fence_seconds) as drive:
        drive.run(from_, to, prefix or [], rate)


@app.command()
def status(name: Name, control: ControlOption = "") -> None:
    """The stage, and what each sidecar has still to copy."""
    with _drive(name, control, None) as drive:
        drive.status()


@contextmanager
def _drive(name: str, control: str, without: list[str] | None, fence_seconds: float = 5.0) -> Iterator["Drive"]:
    from mesh_core.control.client import RestClient

    try:
        from cache_mesh.migrate.drive import Drive
        from cache_mesh.migrate.servers import Failed
    except ImportError as error:
        fail(EXIT_FAILED, f"midstream migrate needs the package redis ({error}); pip install 'midstream[migrate]'")
        return
    with errors():
        try:
            yield Drive(RestClient(control), name, frozenset(without or ()), fence_seconds)
        except Failed as failed:
            fail(EXIT_FAILED, str(failed))
