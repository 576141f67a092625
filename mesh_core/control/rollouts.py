"""The commands that look at a rollout and steer it."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from mesh_core.control import commands
from mesh_core.control.client import RestClient
from mesh_core.control.commands import ControlOption, Output, OutputOption, errors

LOOK_EVERY_S = 0.2
DONE, TAKEN_BACK = "done", "taken back"


class Verb(StrEnum):
    STATUS = "status"
    WAIT = "wait"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


def add_to(app: typer.Typer) -> None:
    app.command()(rollout)


def rollout(
    verb: Annotated[Verb, typer.Argument(help="promote: to all sidecars now; abort: everybody has again what was before.")] = Verb.STATUS,
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows or steers what `apply --canary` has begun."""
    with errors():
        client = RestClient(control)
        if verb is Verb.WAIT:
            return follow(client)
        found = client.rollout() if verb is Verb.STATUS else client.steer_rollout(verb)
        if output is Output.TABLE:
            print(_line(found))
        else:
            from mesh_core.control.printing import dump

            dump(found, output)


def gates_of(texts: list[str]) -> dict[str, float] | None:
    """Of the words of `--gate`. Raises typer.BadParameter."""
    if texts == ["none"]:
        return None
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in ("errors", "refusals", "latency") or not value.replace(".", "", 1).isdecimal():
            raise typer.BadParameter(f"{text!r} is no gate; write errors=1, refusals=1, latency=2, or none alone")
        found[name] = float(value)
    return found


def follow(client: RestClient) -> None:
    """Prints each step until the end; a rollout that was taken back is a failed command."""
    said = ""
    while True:
        found = client.rollout()
        if (line := _line(found)) != said:
            said = line
            print(line, flush=True)
        if found["phase"] == TAKEN_BACK:
            raise typer.Exit(commands.EXIT_NOT_IN_FORCE)
        if found["phase"] == DONE:
            return
        time.sleep(LOOK_EVERY_S)


def _line(found: dict) -> str:
    if found["phase"] == DONE:
        return f"done: revision {found['revision']}"
    if found["phase"] == TAKEN_BACK:
        return f"taken back: {found['reason']}"
    sidecars = found["sidecars"]
    names = f" ({', '.join(sidecars)})" if 0 < len(sidecars) <= 5 else ""
    return f"{found['phase']}: step {found['step'] + 1} of {len(found['steps'])}, {found['steps'][found['step']]}, {len(sidecars)} sidecars{names}"
