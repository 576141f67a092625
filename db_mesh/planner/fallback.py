"""The last proof: all rows that can matter are brought to the home shard, and the statement itself runs there.

The database is the executor, so any read is right that means the same over a copy of a table's rows as over the table: the copies have the same
columns, types and collations under another name, and the same primary key where the statement may rely on it. What looks at more than the rows
(system columns, the table's own row type, a sample) is refused. What the data plane does with it: `proto-postgres/src/fallback.rs`.
"""

from collections import Counter
from collections.abc import Iterator

from google.protobuf.message import Message
from sqlglot import exp

from db_mesh.planner.answers import Outline, Refused
from db_mesh.planner.facts import Facts, Instance, conjuncts
from db_mesh.planner.request import PARAMETER, Request
from db_mesh.planner.scatter import changing_calls
from db_mesh.planner.text import quoted
from db_mesh.schema import Relation, Schema

_SYSTEM_COLUMNS = {"ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"}
_ADVICE = "restrict every sharded table to a value of its key, or write the statement without it"
_COMPARISONS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
_READ_AS_TABLE = {"r", "p"}  # pg_class.relkind: what a SELECT copies as a whole
PROOF = "the rows that can matter are gathered on the home shard, which runs the statement over them"


def gathered(root: exp.Expression, facts: Facts, request: Request, schema: Schema, outline: Outline) -> Message:
    """The plan. Raises Refused with what a copy of the rows cannot give."""
    _check(root, facts, request, schema)
    result = outline.all_shards(PROOF)
    names: dict[tuple[str, str], str] = {}
    splices = []
    uses = Counter(_id(one) for one in facts.sharded())
    for instance in facts.sharded():
        relation = _relation(instance)
        if _id(instance) not in names:
            names[_id(instance)] = f"midstream_{len(names) + 1}"
            condition = _condition(instance, request) if uses[_id(instance)] == 1 else ""
            _fragment(result, relation, names[_id(instance)], condition, root, request)
        splices.append(_splice(instance, names[_id(instance)]))
    for start, end, text in sorted(splices):
        result.splices.add(start=request.byte_offset(start), end=request.byte_offset(end), text=text)
    return result


def _relation(instance: Instance) -> Relation:
    assert instance.relation is not None  # the caller has refused what does not exist
    return instance.relation


def _id(instance: Instance) -> tuple[str, str]:
    return _relation(instance).schema, _relation(instance).name


def _check(root: exp.Expression, facts: Facts, request: Request, schema: Schema) -> None:
    changing = changing_calls(request, schema)
    if changing:
        raise Refused(f"{changing[0]}() in a statement whose rows are gathered from several shards", "call it in a statement of its own")
    for kind, what in ((exp.Lock, "FOR UPDATE and FOR SHARE"), (exp.Into, "SELECT INTO"), (exp.TableSample, "TABLESAMPLE")):
        if root.find(kind):
            raise Refused(f"{what} over several shards", _ADVICE)
    system = sorted(_SYSTEM_COLUMNS & request.words)
    if system:
        raise Refused(f"the system column {system[0]} over several shards: a row's place is its shard's own", _ADVICE)
    aliases = {one.alias for one in facts.sharded()}
    for column in root.find_all(exp.Column):
        if column.args.get("db"):
            raise Refused("a column named with its table's schema, over several shards", "name it by the table's alias")
        if not column.table and column.name in aliases and not any(one.relation and column.name in one.relation.columns for one in facts.instances):
            raise Refused(f"the row {column.name} as one value, over several shards: its type is the table's own", "name its columns")
    for one in facts.sharded():
        if one.node is None or one.node.args.get("only") or _relation(one).kind not in _READ_AS_TABLE:
            raise Refused(f"{one.alias} in this form over several shards", _ADVICE)


def _fragment(result: Message, relation: Relation, name: str, condition: str, root: exp.Expression, request: Request) -> None:
    needs_all = any(not isinstance(star.parent, exp.Count) for star in root.find_all(exp.Star))
    needs_all = needs_all or "natural" in request.words or any(table.args["alias"].args.get("columns") for table in _aliased(root))
    key = relation.primary if "group" in request.words else ()
    wanted = [one for one in relation.columns if needs_all or one in request.words or one in key]
    target = result.fragments.add(name=name, relation=f"{quoted(relation.schema)}.{quoted(relation.name)}", condition=condition)
    target.columns = ", ".join(map(quoted, wanted or list(relation.columns)[:1]))
    target.primary_key = ", ".join(map(quoted, key))


def _aliased(root: exp.Expression) -> Iterator[exp.Table]:
    yield from (table for table in root.find_all(exp.Table) if table.args.get("alias"))


def _splice(instance: Instance, name: str) -> tuple[int, int, str]:
    """Characters of the table's name, schema included, and what stands there instead: under its old alias or name."""
    table = instance.node
    assert table is not None
    first = table.args.get("db") or table.this
    places = first.meta.get("start"), table.this.meta.get("end")
    if None in places:
        raise Refused("the planner does not find a table's name in the text", "write the statement in a simpler form")
    alias = "" if table.args.get("alias") else f" as {quoted(table.name)}"
    return places[0], places[1] + 1, f"pg_temp.{name}{alias}"


def _condition(instance: Instance, request: Request) -> str:
    """What WHERE itself says of this table's rows by comparing its columns with literals. Not of rows that an outer join may replace by NULLs:
    without them more would be replaced."""
    where = instance.block.node.args.get("where")
    if where is None or instance.nullable or instance.renamed:
        return ""
    parts = (_comparison(part, instance, request) for part in conjuncts(where.this))
    return " and ".join(part for part in parts if part)


def _comparison(part: exp.Expression, instance: Instance, request: Request) -> str:
    sign = _COMPARISONS.get(type(part))
    column = _column(part.this, instance)
    if sign and column:
        value = _literal(part.expression, request)
        return f"{column} {sign} {value}" if value else ""
    if isinstance(part, exp.Between) and column:
        low, high = (_literal(part.args[name], request) for name in ("low", "high"))
        return f"{column} between {low} and {high}" if low and high and not part.args.get("symmetric") else ""
    if isinstance(part, exp.In) and column and part.expressions:
        values = [_literal(value, request) for value in part.expressions]
        return f"{column} in ({', '.join(values)})" if all(values) else ""
    return ""


def _column(node: exp.Expression | None, instance: Instance) -> str:
    """The quoted name of a column that is surely this table's; empty: it is not, or not surely."""
    if not isinstance(node, exp.Column) or instance.relation is None or node.name not in instance.relation.columns:
        return ""
    block = instance.block
    owners = [one for one in block.instances if one.has(node.name)]
    is_own = node.table == instance.alias if node.table else owners == [instance] and not block.opaque
    return quoted(node.name) if is_own else ""


def _literal(node: exp.Expression, request: Request) -> str:
    """A value that stands in the text, as a splice names it. A parameter's value cannot be part of a COPY."""
    if not isinstance(node, exp.Placeholder) or not node.name.startswith("p"):
        return ""
    slot = request.slot(int(node.name[1:])) if node.name[1:].isdigit() else None
    return f":{node.name}" if slot is not None and slot.kind != PARAMETER else ""
