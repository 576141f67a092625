"""The planner's answers to statements, in a golden file: read the diff when it changes. REGENERATE=1 writes it anew."""

import os
from pathlib import Path

from db_mesh.planner.rules import Rules
from db_mesh.planner.statement import plan
from tests.unit.db_mesh.shop import RULES, SCHEMA, request, sharding
from xds.messages import message

GOLDEN = Path(__file__).parent / "statements.txt"


def test_every_statement_has_its_plan() -> None:
    lines = []
    for line in GOLDEN.read_text().splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            sql, _, notes = line.partition(" -- ")
            slots, _, path = notes.partition("path=")
            lines += [f"    {part}" for part in describe(plan(request(sql, slots, path), RULES, SCHEMA), sql)]
    found = "\n".join(lines) + "\n"
    if os.environ.get("REGENERATE"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_the_file_holds_what_it_promises() -> None:
    statements = [line for line in GOLDEN.read_text().splitlines() if line and line[0] not in " #"]
    assert len(statements) == len(set(statements)) >= 120


def describe(answer, sql: str) -> list[str]:
    """A plan for readers."""
    klass = {1: "READ", 2: "WRITE", 3: "ADMIN"}[getattr(answer, "class")]
    lines = [f"{answer.verb} {klass} {', '.join(answer.tables)}".rstrip() + ("" if answer.cacheable else " (once)")]
    to = answer.route.WhichOneof("to")
    if to == "refuse":
        refuse = answer.route.refuse
        return [*lines, f"refused {refuse.sqlstate}: {refuse.message}", f"hint: {refuse.hint}"]
    lines.append(f"to {_keys(answer.route.by_key)}" if to == "by_key" else f"to {to}")
    lines += [f"splice: {_splice(sql, one)}" for one in answer.splices]
    lines += [f"gather: {_fragment(one)}" for one in answer.fragments]
    if answer.HasField("merge"):
        lines.append(f"merge: {_merge(answer.merge)}")
    return [*lines, f"proof: {answer.proof}"]


def _fragment(one) -> str:
    condition = f" where {one.condition}" if one.condition else ""
    key = f"; primary key {one.primary_key}" if one.primary_key else ""
    return f"{one.name}: {one.columns} of {one.relation}{condition}{key}"


def _keys(by_key) -> str:
    keys = ", ".join(_key(one) for one in by_key.keys)
    key_type = message("midstream.sql.v1.Table").DESCRIPTOR.fields_by_name["key_type"].enum_type.values_by_number[by_key.key_type].name
    notes = [name for name in ("subset", "places") if getattr(by_key, name)] + ([f"max {by_key.max_chars}"] if by_key.max_chars else [])
    return f"{by_key.table} by {key_type} {keys}" + (f" ({', '.join(notes)})" if notes else "")


def _key(one) -> str:
    return ("-" if one.negated else "") + f":p{one.slot}" + ("[]" if one.array else "") + (f"::{one.type_oid}" if one.type_oid else "")


def _splice(sql: str, one) -> str:
    data = sql.encode()
    return f"{data[: one.start][-12:].decode()}[{data[one.start : one.end].decode()} => {one.text}]{data[one.end :][:12].decode()}"


def _merge(merge) -> str:
    compare = message("midstream.sql.v1.OrderKey").DESCRIPTOR.fields_by_name["compare"].enum_type.values_by_number
    function = message("midstream.sql.v1.Aggregate").DESCRIPTOR.fields_by_name["function"].enum_type.values_by_number
    parts = ["distinct"] * merge.distinct
    parts += [f"group {list(merge.group)}"] if merge.group else []
    parts += [f"{function[one.function].name}({one.column}) {compare[one.compare].name}" for one in merge.aggregates]
    for one in merge.order:
        column = f"hidden {one.column - 65536}" if one.column >= 65536 else one.column
        parts.append(f"order {column} {compare[one.compare].name}{' desc' * one.descending}{' nulls first' * one.nulls_first}")
    for name in ("limit", "offset"):
        if merge.HasField(name):
            bound = getattr(merge, name)
            parts.append(f"{name} " + (f":p{bound.slot}" if bound.WhichOneof("value") == "slot" else str(bound.constant)))
    return "; ".join([*parts, *([f"hide {merge.hidden}"] if merge.hidden else [])]) or "concatenate"


def test_where_nothing_may_be_gathered_a_merges_refusal_stands() -> None:
    rules = sharding()
    rules.gather_bytes = 0
    for sql, reason in (
        ("select avg ( qty ) from orders", "avg over several shards"),
        ("select * from orders , settings", "settings lies on the home shard only"),
        ("select * from orders o , order_lines l where o.customer_id = :p1 and l.customer_id = :p2", ""),
    ):
        answer = plan(request(sql), Rules(rules, 2), SCHEMA)
        assert not answer.fragments
        assert reason in answer.route.refuse.message
