"""INSERT, UPDATE and DELETE of sharded tables: each on one shard, and no row where its key does not belong."""

from sqlglot import exp

from db_mesh.planner.answers import KeySource, Refused
from db_mesh.planner.facts import Facts, Instance
from db_mesh.planner.keys import KeyReader, key_column
from db_mesh.planner.request import Request
from db_mesh.schema import Column


def check_targets(root: exp.Expression, facts: Facts, request: Request) -> int:
    """Ties the targets of INSERTs to the keys of their new rows, and refuses what would move a row off its shard.

    Returns how many characters a key that places rows may have (0: any number).
    """
    limit = 0
    for block in facts.blocks:
        node = block.node
        if not isinstance(node, (exp.Insert, exp.Update, exp.Delete)) or not block.instances:
            continue
        target = block.instances[0]
        if target.placed is not None and target.placed.reference:
            hint = "write it on each shard for itself; writes on several shards need two-phase commit, which is not there yet"
            raise Refused(f"{target.placed.name} is a reference table: every shard has all its rows", hint)
        if not target.sharded:
            continue
        if isinstance(node, exp.Insert):
            limit = max(limit, _insert(node, target, facts, request))
        elif isinstance(node, exp.Update):
            _keeps_key(node.expressions, target)
    return limit


def _insert(node: exp.Insert, target: Instance, facts: Facts, request: Request) -> int:
    column = key_column(target.placed, target.relation) if target.placed else None
    if column is None or target.relation is None:
        raise Refused("INSERT into a table whose columns are not known", "run the statement again", cacheable=False)
    given = [one.name for one in node.this.expressions] if isinstance(node.this, exp.Schema) else list(target.relation.columns)
    if target.key not in given:
        raise Refused(f"Sharding of {target.placed.name}: a new row needs its key {target.key}", "name the key's column and give its value")
    _defaults(node, given, target)
    place = given.index(target.key)
    reader = KeyReader(request)
    target.keys.append(frozenset(_row_keys(node.expression, place, target, reader, facts)))
    conflict = node.args.get("conflict")
    if conflict is not None:
        _conflict(conflict, target)
    return column.max_chars


def _row_keys(rows: exp.Expression | None, place: int, target: Instance, reader: KeyReader, facts: Facts) -> list[KeySource]:
    assert target.placed is not None
    column = key_column(target.placed, target.relation)
    if isinstance(rows, exp.Values):
        keys = []
        for row in rows.expressions:
            values = row.expressions if isinstance(row, exp.Tuple) else [row]
            source = reader.source(values[place], column) if place < len(values) else None
            if source is None:
                reason = f"Sharding of {target.placed.name}: the key of a new row is not plainly a value or parameter"
                raise Refused(reason, f"give {target.key} as a value, not as an expression or DEFAULT")
            keys.append(source)
        return keys
    if isinstance(rows, exp.Select):
        return _selected_keys(rows, place, target, reader, facts)
    raise Refused(f"Sharding of {target.placed.name}: new rows need their key {target.key}", "use INSERT ... VALUES with the key's value")


def _selected_keys(rows: exp.Select, place: int, target: Instance, reader: KeyReader, facts: Facts) -> list[KeySource]:
    """INSERT ... SELECT: the key is a value, or the key of a table that is tied to one."""
    assert target.placed is not None
    outputs = [one.this if isinstance(one, exp.Alias) else one for one in rows.expressions]
    if place < len(outputs) and not any(one.is_star for one in outputs):
        output = outputs[place].unnest()
        source = reader.source(output, key_column(target.placed, target.relation))
        if source is not None:
            return [source]
        block = next(block for block in facts.blocks if block.node is rows)
        instance = block.resolve(output) if isinstance(output, exp.Column) else None
        candidates = facts.keys_of(instance) if instance is not None and instance.placed and instance.placed.group == target.placed.group else []
        if candidates and instance is not None and not instance.nullable:
            return list(min(candidates, key=len))
    reason = f"Sharding of {target.placed.name}: INSERT ... SELECT of rows whose keys are not known before it runs"
    raise Refused(reason, "select the key as a value, or from a colocated table restricted to that key")


def _defaults(node: exp.Insert, given: list[str], target: Instance) -> None:
    """A column that takes its value from a sequence would get equal values on several shards."""
    assert target.relation is not None and target.placed is not None
    columns = target.relation.columns
    rows = node.expression.expressions if isinstance(node.expression, exp.Values) else []
    taken = [name for row in rows for name, cell in zip(given, _cells(row), strict=False) if _is_default(cell)]
    taken += [name for name in columns if name not in given]
    drawn = [name for name in taken if name in columns and _is_drawn(columns[name])]
    if drawn:
        reason = f"Sharding of {target.placed.name}: {drawn[0]} takes its value by default, from a sequence that every shard has for itself"
        raise Refused(reason, "give the value, for instance a uuid or a number of the application's own")


def _is_drawn(column: Column) -> bool:
    """From a sequence: serial, or identity (attidentity a or d)."""
    return "nextval(" in column.default or column.default in ("a", "d")


def _cells(row: exp.Expression) -> list[exp.Expression]:
    return row.expressions if isinstance(row, exp.Tuple) else [row]


def _is_default(cell: exp.Expression) -> bool:
    if isinstance(cell, exp.Column):
        return cell.name.upper() == "DEFAULT" and not cell.table
    return isinstance(cell, exp.Var) and cell.name.upper() == "DEFAULT"


def _conflict(conflict: exp.OnConflict, target: Instance) -> None:
    """What conflicts has to be on the same shard."""
    assert target.relation is not None and target.placed is not None
    keys = {one.this.name if isinstance(one, exp.Ordered) else one.name for one in conflict.args.get("conflict_keys") or []}
    if target.key not in keys and not (target.relation.unique and all(target.key in columns for columns in target.relation.unique)):
        reason = f"Sharding of {target.placed.name}: ON CONFLICT on columns without the key {target.key}: a row of another shard may conflict"
        raise Refused(reason, "make the key part of the unique constraint and name it in ON CONFLICT")
    _keeps_key(conflict.expressions, target)


def _keeps_key(assignments: list[exp.Expression], target: Instance) -> None:
    for one in assignments:
        changed = one.this if isinstance(one, exp.EQ) else one
        names = [part.name for part in changed.expressions] if isinstance(changed, exp.Tuple) else [changed.name]
        if target.key in names and target.placed is not None:
            reason = f"Sharding of {target.placed.name}: UPDATE of the key {target.key} would move the row to another shard"
            raise Refused(reason, "delete the row and insert it anew")


def spread(facts: Facts) -> Refused:
    """A write that is not tied to one shard."""
    untied = next((one for one in facts.sharded() if not facts.keys_of(one)), None)
    name = untied.placed.name if untied is not None and untied.placed else "the sharded tables"
    key = untied.key if untied is not None else "the key"
    reason = f"Sharding of {name}: a write that is not restricted to one value of {key} may concern several shards"
    return Refused(reason, "restrict it to one key; writes on several shards need two-phase commit, which is not there yet")
