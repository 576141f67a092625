"""The command line of the control plane: apply, get, delete, status, control.

Exit codes: 0 done; 1 the control plane cannot be reached or failed; 2 objects or command line are wrong, nothing was changed; 3 the change is stored
but a sidecar refused part of it or did not answer in time (`apply --wait`, `status --check`); 4: something would change (`plan --check`).
"""

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mesh_core.model.problem import Invalid

if TYPE_CHECKING:
    from mesh_core.control.client import RestClient
    from mesh_core.control.serve import Guard
    from mesh_core.registry import Registry
    from xds.store.base import Store

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_NOT_IN_FORCE = 3
EXIT_DIFFERENT = 4


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


STORES = "A SQLite file, postgresql://USER@HOST/DATABASE, etcd://HOST:PORT or kubernetes://NAMESPACE"

OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
Files = Annotated[list[Path] | None, typer.Option("-f", "--file", help="A file, a folder of .yaml files, or - for standard input.")]
ControlOption = Annotated[str, typer.Option("--control", help="HOST:PORT of the REST API; default MIDSTREAM_CONTROL, else 127.0.0.1:18001.")]


def add_to(app: typer.Typer, families: "Callable[[], Registry]") -> None:
    """Add the commands. `families` makes the registry with every family in it, for the one that needs to know kinds."""

    def control(
        grpc: Annotated[str, typer.Option(help="HOST:PORT of the xDS server.")] = "127.0.0.1:18000",
        rest: Annotated[str, typer.Option(help="HOST:PORT of the REST API.")] = "127.0.0.1:18001",
        store: Annotated[str, typer.Option(envvar="MIDSTREAM_STORE", help=f"{STORES}; default control.db in the state folder.")] = "",
        config: Annotated[Path | None, typer.Option(help="A file or folder of YAML to follow instead of a store.")] = None,
        access: Annotated[
            Path | None, typer.Option(help="A file of who may do what: people at the REST API, and sidecars; without it anybody may do everything.")
        ] = None,
        grpc_cert: Annotated[Path | None, typer.Option(help="Certificate chain of the xDS server, PEM: it is served over TLS.")] = None,
        grpc_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
        grpc_client_ca: Annotated[Path | None, typer.Option(help="Sidecars have to show a certificate of this authority, PEM.")] = None,
        rest_cert: Annotated[Path | None, typer.Option(help="Certificate chain of the REST API, PEM: it is served over TLS.")] = None,
        rest_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    ) -> None:
        """Runs a control plane in the foreground."""
        if store and config is not None:
            raise typer.BadParameter("give --store or --config, not both")
        if (rest_cert is None) != (rest_key is None):
            raise typer.BadParameter("give --rest-cert and --rest-key, or neither")
        if (grpc_cert is None) != (grpc_key is None) or (grpc_client_ca is not None and grpc_cert is None):
            raise typer.BadParameter("give --grpc-cert and --grpc-key, or neither; --grpc-client-ca needs both")
        from mesh_core.control.serve import Guard
        from xds.server.tls import Tls

        xds = Tls(grpc_cert, grpc_key, grpc_client_ca) if grpc_cert and grpc_key else None
        with errors():
            _control(families(), grpc, rest, store, config, Guard(access, rest_cert, rest_key, xds))

    def crds() -> None:
        """Prints the kinds as custom resources of Kubernetes."""
        import yaml

        from mesh_core.control.crds import manifests

        print(yaml.safe_dump_all(manifests(families().kinds), sort_keys=False), end="")

    for command in (control, apply, get, delete, status, token, crds):
        app.command()(command)
    from mesh_core.control import revisions, rollouts

    revisions.add_to(app)
    rollouts.add_to(app)


def apply(
    file: Files = None,
    dry_run: Annotated[bool, typer.Option(help="Check everything, change nothing.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until every connected sidecar has answered; 0: do not wait.")] = 0,
    canary: Annotated[
        list[str] | None,
        typer.Option(help="First on a part of the sidecars, like 10%, zone:eu-1, label:KEY=VALUE or shop-1*; again for the next. Waits for the end."),
    ] = None,
    hold: Annotated[float, typer.Option(min=0, help="Seconds that each part has to hold before the next.")] = 10,
    gate: Annotated[list[str] | None, typer.Option(help="With --canary: errors=1, refusals=1 (per cent), latency=2 (times); or none.")] = None,
    together: Annotated[bool, typer.Option(help="All sidecars check it first, and have it at once; Sharding and routes always are so.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Creates or replaces objects, all or none."""
    from mesh_core.control.client import RestClient, sources_of

    with errors():
        paths = needed(file)
        sources = sources_of(paths, stdin(paths))
        client = RestClient(control)
        if canary and not dry_run:
            from mesh_core.control.rollouts import follow, gates_of

            client.start_rollout(sources, canary, author=author(), reason=reason, holdSeconds=hold, gates=gates_of(gate or []))
            return follow(client)
        applied = client.apply(sources, author=author(), reason=reason, dryRun=dry_run, together=together)
        report(client, applied, output, dry_run=dry_run, wait=wait)


def get(
    kind: Annotated[str, typer.Argument(help="A kind, like Listener; none: all.")] = "",
    name: Annotated[str, typer.Argument(help="An object's name; none: all of the kind.")] = "",
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows the stored objects."""
    from mesh_core.control import printing
    from mesh_core.control.client import RestClient

    with errors():
        found = RestClient(control).objects(kind, name)
        if name and not found["objects"]:
            fail(EXIT_FAILED, f"there is no {kind} {name}")
        printing.objects(found, output)


def delete(
    kind: Annotated[str, typer.Argument(help="A kind, like Listener.")] = "",
    names: Annotated[list[str] | None, typer.Argument(help="Names of objects of that kind.")] = None,
    file: Files = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Removes objects by kind and name or, with -f, those that files name; all or none."""
    from mesh_core.control import printing
    from mesh_core.control.client import RestClient, sources_of

    if bool(kind and names) == bool(file):
        raise typer.BadParameter("give KIND NAME..., or -f FILE")
    with errors():
        keys = _keys_in(sources_of(file, stdin(file))) if file else [(kind, name) for name in names or ()]
        printing.applied(RestClient(control).delete(keys, author=author(), reason=reason), output)


def status(
    node: Annotated[str, typer.Argument(help="One sidecar; none: all.")] = "",
    check: Annotated[bool, typer.Option(help="Exit with 3 unless every connected sidecar has everything in force.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="With --check: seconds to wait for it.")] = 0,
    output: OutputOption = Output.TABLE,
    control: ControlOption = "",
) -> None:
    """Shows what each sidecar holds: ACKED (in force), NACKED (refused there), QUARANTINED (held back, as another of its kind refused it),
    SENT (not answered yet), STALE (not given yet)."""
    from mesh_core.control import printing
    from mesh_core.control.client import RestClient
    from mesh_core.control.waiting import in_force, wait_in_force

    with errors():
        client = RestClient(control)
        found = wait_in_force(client, wait, node=node) if check else client.status(node)
        printing.status(found, output)
        if check and not in_force(found):
            raise typer.Exit(EXIT_NOT_IN_FORCE)


def token() -> None:
    """Makes a token, and the digest for the control plane's access file."""
    from mesh_core.control.access import new_token

    secret, digest = new_token()
    print(f"token (for MIDSTREAM_TOKEN; it is shown this once): {secret}")
    print(f"tokenSha256 (for the access file): {digest}")


def _control(registry: "Registry", grpc: str, rest: str, store: str, config: Path | None, guard: "Guard") -> None:
    from mesh_core._dataplane import validate
    from mesh_core.control.directory import DirectoryStore
    from mesh_core.control.serve import run
    from mesh_core.model.values import parse_host_port

    objects = DirectoryStore(config) if config else _store(store, registry)
    with suppress(KeyboardInterrupt):
        where = (parse_host_port(grpc), parse_host_port(rest))
        asyncio.run(run(objects, registry, validate, *where, guard, lambda line: print(line, flush=True)))


def _store(where: str, registry: "Registry") -> "Store":
    if where.startswith("kubernetes://"):
        try:
            from mesh_core.control.kubernetes_objects import connected
        except ImportError as error:
            raise ValueError("objects of Kubernetes need its client; install midstream[kubernetes]") from error

        return connected(where.removeprefix("kubernetes://").strip("/") or "default", registry.kinds.kinds)
    if where.startswith(("postgresql://", "postgres://")):
        from xds.store.postgres import PostgresStore

        return PostgresStore(where)
    if where.startswith(("etcd://", "etcds://")):
        from xds.store.etcd import EtcdStore

        return EtcdStore(where)
    from xds.store.sqlite import SqliteStore

    return SqliteStore(Path(where) if where else _default_store())


def _default_store() -> Path:
    """In `$MIDSTREAM_STATE`, else the user's state folder, as the sidecar's files."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(os.environ.get("MIDSTREAM_STATE") or Path(base) / "midstream") / "control.db"


def report(client: "RestClient", applied: dict, output: Output, *, dry_run: bool, wait: float) -> None:
    """Prints what a change did; with `wait` it has to be in force within so many seconds."""
    from mesh_core.control import printing

    printing.applied(applied, output, dry_run=dry_run)
    if wait and not dry_run:
        _require_in_force(client, wait, applied["revision"])


def _require_in_force(client, seconds: float, revision: int) -> None:
    from mesh_core.control import printing
    from mesh_core.control.waiting import in_force, wait_in_force

    found = wait_in_force(client, seconds, revision=revision)
    if not in_force(found):
        printing.not_in_force(found)
        raise typer.Exit(EXIT_NOT_IN_FORCE)


@contextmanager
def errors() -> Iterator[None]:
    """Every error becomes its text on stderr and its exit code."""
    from mesh_core.control.client import Failed, Unreachable
    from xds.server.errors import AddressInUse
    from xds.store.base import StoreFailed

    try:
        yield
    except Invalid as error:
        fail(EXIT_REFUSED, f"refused, nothing was changed:\n{error}")
    except ValueError as error:
        fail(EXIT_REFUSED, str(error))
    except (Unreachable, Failed, StoreFailed) as error:
        fail(EXIT_FAILED, str(error))
    except AddressInUse as error:
        fail(EXIT_REFUSED, str(error))


def fail(code: int, text: str) -> None:
    print(text, file=sys.stderr)
    raise typer.Exit(code)


def needed(file: list[Path] | None) -> list[Path]:
    if not file:
        raise typer.BadParameter("give -f FILE")
    return file


def stdin(paths: list[Path]) -> str | None:
    return sys.stdin.read() if any(str(path) == "-" for path in paths) else None


def author() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _keys_in(sources: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Kind and name of every object in these texts. Raises Invalid."""
    from mesh_core.control.directory import entries_of
    from mesh_core.model.source import read

    keys: list[tuple[str, str]] = []
    for source in sources:
        documents, problems = read(source["text"], source["file"])
        if problems:
            raise Invalid(problems)
        keys += entries_of(documents)
    return keys
