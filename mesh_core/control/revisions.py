"""The commands about change itself: plan, history, audit, diff, rollback."""

from typing import Annotated

import typer

from mesh_core.control import commands
from mesh_core.control.commands import ControlOption, Files, Output, OutputOption, author, errors, needed, report, stdin


def add_to(app: typer.Typer) -> None:
    for command in (plan, history, audit, diff, rollback):
        app.command()(command)


def plan(
    file: Files = None,
    check: Annotated[bool, typer.Option(help=f"Exit with {commands.EXIT_DIFFERENT} when anything would change.")] = False,
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows what apply would do: to the objects, to what sidecars are given, to connected clients. Changes nothing."""
    from mesh_core.control import revision_printing
    from mesh_core.control.client import RestClient, sources_of

    with errors():
        paths = needed(file)
        found = RestClient(control).plan(sources_of(paths, stdin(paths)))
        revision_printing.plan(found, output)
        if check and found["objects"]:
            raise typer.Exit(commands.EXIT_DIFFERENT)


def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many changes.")] = 20,
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows the latest changes: when, by whom, why, of what."""
    from mesh_core.control import revision_printing
    from mesh_core.control.client import RestClient

    with errors():
        revision_printing.history(RestClient(control).history(limit), output)


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many records.")] = 20,
    verify: Annotated[bool, typer.Option(help="Whether anybody altered the log, or the objects behind it; prints the newest seal.")] = False,
    noted: Annotated[str, typer.Option(help="With --verify: NUMBER:SEAL as it was printed before; it has to be there still.")] = "",
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows the latest records of what was changed and what was refused; with --verify, whether they are all there and as they were written."""
    from mesh_core.control import revision_printing
    from mesh_core.control.client import RestClient

    if noted and not verify:
        raise typer.BadParameter("--noted is for --verify")
    with errors():
        client = RestClient(control)
        if not verify:
            return revision_printing.audit(client.audit(limit), output)
        found = client.verify(noted)
        revision_printing.verified(found, output)
        if found["broken"]:
            raise typer.Exit(commands.EXIT_FAILED)


def diff(
    since: Annotated[
        int | None, typer.Argument(help="A revision; alone: what that one changed. None: what the latest changed.", metavar="FROM")
    ] = None,
    until: Annotated[int | None, typer.Argument(help="A later revision, or an earlier one.", metavar="TO")] = None,
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows what changed in the objects, line by line."""
    from mesh_core.control import revision_printing
    from mesh_core.control.client import RestClient

    if until is None:
        since, until = (None, since)
    with errors():
        revision_printing.diff(RestClient(control).diff(since, until), output)


def rollback(
    revision: Annotated[int, typer.Argument(min=0, help="The objects become what they were after it; see `midstream history`.")],
    dry_run: Annotated[bool, typer.Option(help="Check everything, change nothing.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until every connected sidecar has answered; 0: do not wait.")] = 0,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Takes changes back, as a new change; refused like any other where it is not valid any more."""
    from mesh_core.control.client import RestClient

    with errors():
        client = RestClient(control)
        applied = client.rollback(revision, author=author(), reason=reason, dryRun=dry_run)
        report(client, applied, output, dry_run=dry_run, wait=wait)
