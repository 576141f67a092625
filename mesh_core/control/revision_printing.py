"""How plans, histories and differences are printed."""

import difflib
import sys
import time
from collections.abc import Iterable, Iterator

import yaml
from rich.text import Text

from mesh_core.control.printing import console, dump, table

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def plan(found: dict, output: str) -> None:
    if output != "table":
        dump(found, output)
        return
    if not found["objects"]:
        print("nothing would change")
        return
    _print_changes(found["objects"])
    resources = table("RESOURCE", "NAME", "IS", "FIELDS")
    for change in found["resources"]:
        resources.add_row(change["type"], change["name"], change["what"], ", ".join(change["fields"]))
    console().print(resources)
    sidecars = found["sidecars"]
    print(f"to be given to {len(sidecars)} connected sidecars{': ' + ', '.join(sidecars) if 0 < len(sidecars) <= 10 else ''}")
    for sentence in found["clients"]:
        print(sentence)


def history(found: dict, output: str) -> None:
    if output != "table":
        dump(found["changes"], output)
        return
    changes = table("REVISION", "AT", "BY", "WHY", "WHAT")
    for change in found["changes"]:
        what = [f"{kind} {name}" for kind, name in change["put"]] + [f"{kind} {name} removed" for kind, name in change["removed"]]
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change["at"]))
        changes.add_row(str(change["revision"]), at, change["author"], change["reason"], ", ".join(what))
    console().print(changes)


def audit(found: dict, output: str) -> None:
    if output != "table":
        dump(found["records"], output)
        return
    records = table("RECORD", "AT", "BY", "WHAT", "REVISION", "WHY")
    for record in found["records"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.get("at", 0)))
        what = " ".join(filter(None, (record.get("action"), record.get("outcome", "unreadable"))))
        records.add_row(str(record["number"]), at, record.get("author", ""), what, str(record.get("revision", "")), record.get("reason", ""))
    console().print(records)


def verified(found: dict, output: str) -> None:
    if output != "table":
        dump(found, output)
    elif found["broken"]:
        print(f"broken: {found['broken']}")
    else:
        head, anchor = found["head"], found["anchor"]
        print(f"whole: records {anchor['number'] + 1} to {head['number']}, and what they tell of is in the store as they tell it")
        print(f"note this outside of the store, for --noted: {head['number']}:{head['seal']}")


def diff(found: dict, output: str) -> None:
    if output != "table":
        dump(found, output)
    elif found["changes"]:
        _print_changes(found["changes"])
    else:
        print(f"revisions {found['from']} and {found['to']} have the same objects")


def _print_changes(changes: Iterable[dict]) -> None:
    for change in changes:
        for line in _lines(change):
            if sys.stdout.isatty():
                console().print(Text(line, style=_STYLES.get(line[:1], "")))
            else:
                print(line)


def _lines(change: dict) -> Iterator[str]:
    """A unified difference of two objects as YAML."""
    before, after = ([] if value is None else _yaml(value) for value in (change["before"], change["after"]))
    name = f"{change['kind']}/{change['name']}"
    sides = ("/dev/null" if side is None else name for side in (change["before"], change["after"]))
    yield from difflib.unified_diff(before, after, *sides, lineterm="")


def _yaml(value: object) -> list[str]:
    return yaml.safe_dump(value, sort_keys=False).splitlines()
