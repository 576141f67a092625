"""The command ``midstream``: one function per verb, each in the room of what it does; here they only meet.

Exit codes everywhere: 0 done, 1 the thing asked for failed, 2 wrong configuration or wrong command line.
"""

import logging
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from mesh_core import __version__

if TYPE_CHECKING:
    from mesh_core.registry import Registry

app = typer.Typer(
    name="midstream",
    help="A mesh for SQL, messages and caches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def families() -> "Registry":
    """The registry with every installed family in it."""
    from mesh_core.registry import Registry

    registry = Registry()
    for point in sorted(entry_points(group="midstream.families"), key=lambda point: point.name):
        point.load()(registry)
    return registry


def host_and_port(text: str) -> tuple[str, int]:
    """``HOST:PORT`` taken apart. Raises typer.BadParameter."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value


@app.command()
def sidecar(
    config: Annotated[Path | None, typer.Option(help="A file or folder of objects (YAML); SIGHUP reads it again.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT of a control plane, or HOST:PORT,HOST:PORT,... of equals; again for those to fall back to.")
    ] = None,
    node: Annotated[str, typer.Option(help="This sidecar's name to the control plane.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Event loops.")] = 1,
    admin: Annotated[str, typer.Option(help="HOST:PORT of /ready, /metrics, /config.")] = "127.0.0.1:18002",
    state: Annotated[Path | None, typer.Option(help="Folder of the last good configuration.")] = None,
    drain_seconds: Annotated[float, typer.Option(min=0, help="How long sessions may take to finish after SIGTERM.")] = 10.0,
    token: Annotated[Path | None, typer.Option(help="A file with the token that a control plane asks for; read again when it changes.")] = None,
    control_ca: Annotated[Path | None, typer.Option(help="Control planes are spoken to over TLS, by this authority's certificate, PEM.")] = None,
    control_cert: Annotated[Path | None, typer.Option(help="This sidecar's certificate chain for control planes that ask for one, PEM.")] = None,
    control_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, for rollouts that choose sidecars by it; give several.")] = None,
) -> None:
    """Runs a sidecar in the foreground: from files, or from a control plane."""
    from mesh_core.sidecar.run import Options, default_state_folder, main
    from xds.client.credentials import Credentials

    if (config is None) == (not control):
        raise typer.BadParameter("give --config FILE_OR_DIR or --control HOST:PORT, and not both")
    if control and not node:
        raise typer.BadParameter("a control plane needs to know who asks: give --node NAME")
    if "/" in node:
        raise typer.BadParameter("a node's name has no slash: it names a file too")
    admin_host, admin_port = host_and_port(admin)
    credentials = Credentials(token, control_ca, control_cert, control_key)
    if problem := credentials.problem([host_and_port(target)[0] for targets in control or [] for target in targets.split(",")]):
        raise typer.BadParameter(problem)
    folder = state or default_state_folder()
    labels = dict(map(_key_and_value, label or []))
    options = Options(config, control or [], node, workers, admin_host, admin_port, folder, drain_seconds, credentials, labels)
    raise typer.Exit(main(options, families()))


@app.command()
def version() -> None:
    """Prints the version."""
    print(__version__)


def _add_rooms() -> None:
    """The verbs of the control plane and of the demo, from their own rooms."""
    from mesh_core.control import commands

    commands.add_to(app, families)
    for add in families().commands:
        add(app)

    from mesh_core.demo import demo

    app.command()(demo)


def main() -> None:
    """The entry point."""
    lines = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else lines,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _add_rooms()
    app()
