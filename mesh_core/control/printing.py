"""What the commands print: tables for people, JSON and YAML for programs. What draws tables is loaded where one is drawn."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLE = {"ACKED": "green", "NACKED": "bold red", "QUARANTINED": "bold red", "SENT": "yellow", "STALE": "yellow"}
# A terminal's width when there is none: nothing is cut in a log.
_WIDE = 240


def applied(result: dict, output: str, *, dry_run: bool = False) -> None:
    if output != "table":
        dump(result, output)
        return
    for what in ("created", "changed", "unchanged", "deleted"):
        for item in result[what]:
            print(f"{item['kind']} {item['name']} {what}{' (dry run)' if dry_run else ''}")
    if not dry_run:
        print(f"revision {result['revision']}")


def objects(found: dict, output: str) -> None:
    values = [item["object"] for item in found["objects"]]
    if output == "json":
        dump(values, output)
    elif output == "yaml":
        import yaml

        yaml.safe_dump_all(values, sys.stdout, sort_keys=False, explicit_start=True)
    else:
        rows = table("KIND", "NAME", "FROM")
        for item in found["objects"]:
            value = item["object"]
            rows.add_row(value["kind"], value["metadata"]["name"], _place(item["file"], item["line"]))
        console().print(rows)


def status(found: dict, output: str) -> None:
    if output != "table":
        dump(found, output)
        return
    if not found["sidecars"]:
        print("no sidecar has connected yet")
    rows = table("SIDECAR", "OBJECT", "STATE", "VERSION", "FROM", "REASON")
    for sidecar in found["sidecars"]:
        _add_sidecar(rows, sidecar)
    if rows.row_count:
        console().print(rows)


def not_in_force(found: dict) -> None:
    """One line on stderr per object that is not in force where it should be."""
    for sidecar in found["sidecars"]:
        for item in sidecar["objects"]:
            if sidecar["connected"] and item["state"] != "ACKED":
                at = f": {item['field']}" if item["field"] else ""
                reason = item["reason"] or "not answered yet"
                place = f"{_place(item['file'], item['line'])}: " if item["file"] else ""
                print(f"{place}{item['kind']} {item['name']}{at}: {item['state']} on {sidecar['node']}: {reason}", file=sys.stderr)


def _add_sidecar(rows: "Table", sidecar: dict) -> None:
    from rich.text import Text

    node = sidecar["node"]
    if not sidecar["connected"]:
        node += f" (gone {_ago(sidecar['since'])})"
    for item in sidecar["objects"]:
        state = Text(item["state"], style=_STYLE.get(item["state"], ""))
        said = " ".join(item["reason"].split())  # Envoy's reasons have line breaks
        reason = f"{item['field']}: {said}" if said else ""
        rows.add_row(node, f"{item['kind']} {item['name']}", state, item["version"], _place(item["file"], item["line"]), reason)
    if not sidecar["objects"]:
        rows.add_row(node, "(no objects)", "", "", "", "")


def _place(file: str, line: int) -> str:
    return f"{file}:{line}" if file else ""


def _ago(since: float) -> str:
    seconds = max(0, int(time.time() - since))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def table(*columns: str) -> "Table":
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    return found


def console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_WIDE)


def dump(value: Any, output: str) -> None:
    if output == "json":
        print(json.dumps(value, indent=2))
    else:
        import yaml

        yaml.safe_dump(value, sys.stdout, sort_keys=False)
