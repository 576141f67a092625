"""Relations and functions that reach sharded tables without naming them in the statement: views, partitions, functions."""

import re
from collections.abc import Iterable
from functools import lru_cache

from db_mesh.planner.answers import Refused
from db_mesh.planner.rules import Rules
from db_mesh.schema import Schema

_WORD = re.compile(r"[a-z_][\w$]*")


@lru_cache(maxsize=64)
def taints(rules: Rules, schema: Schema) -> "Taints":
    """Found once per rules and schema: definitions of views and functions can be long."""
    return Taints(rules, schema)


class Taints:
    """Names that a statement may not use, with the reason; empty where nothing is sharded."""

    def __init__(self, rules: Rules, schema: Schema) -> None:
        self._relations, self._functions = _reasons(rules, schema) if rules else ({}, {})

    def check(self, relations: Iterable[str], calls: Iterable[str]) -> None:
        """Raises Refused when a relation or a function that a statement names is such a one."""
        for named, reasons in ((relations, self._relations), (calls, self._functions)):
            for name in sorted(named):
                if name in reasons:
                    raise Refused(f"{name} {reasons[name]}", "name the sharded tables in the statement itself")


def _reasons(rules: Rules, schema: Schema) -> tuple[dict[str, str], dict[str, str]]:
    placed = {name.rpartition(".")[2] for name in rules.tables}
    relations: dict[str, str] = {}
    functions: dict[str, str] = {}
    # Reaching is transitive (a view over a view, over a function): until nothing new is found.
    while True:
        known = placed | relations.keys() | functions.keys()
        more_relations = {name: why for name, why in _relations(known, placed, schema) if name not in known}
        more_functions = {name: why for name, why in _functions(known, schema) if name not in functions}
        if not more_relations and not more_functions:
            return relations, functions
        relations |= more_relations
        functions |= more_functions


def _relations(known: set[str], placed: set[str], schema: Schema) -> Iterable[tuple[str, str]]:
    for relation in schema.relations.values():
        reached = known & set(_WORD.findall(relation.definition.lower())) if relation.definition else set()
        if reached:
            yield relation.name, f"is a view over {min(reached)}, which is sharded"
        parents = placed & {parent.rpartition(".")[2] for parent in relation.parents}
        if parents:
            yield relation.name, f"is a partition of {min(parents)}, which is sharded"
        if relation.name in placed:
            yield from ((parent.rpartition(".")[2], f"has the sharded table {relation.name} as a part") for parent in relation.parents)


def _functions(known: set[str], schema: Schema) -> Iterable[tuple[str, str]]:
    for function in schema.functions:
        words = set(_WORD.findall(function.body.lower()))
        reached = known & (words - {function.name})
        if reached:
            yield function.name, f"is a function over {min(reached)}, which is sharded"
        elif "execute" in words:
            yield function.name, "is a function that builds its own SQL, which may reach sharded tables"
