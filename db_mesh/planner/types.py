"""Types of expressions, as far as merges need them: what orders them, what adds them up.

The worker checks each answer against the type that the shards really sent, so that a type that is wrong here costs a refusal, not a row.
"""

from sqlglot import exp

from db_mesh.planner.facts import Block
from db_mesh.planner.keys import slot_number
from db_mesh.planner.request import NUMBER, PARAMETER, Request
from db_mesh.schema import Column

BOOL, BYTEA, INT8, INT2, INT4, TEXT, NAME = 16, 17, 20, 21, 23, 25, 19
FLOAT4, FLOAT8, VARCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID = 700, 701, 1043, 1082, 1083, 1114, 1184, 1700, 2950
INTEGERS = {INT2, INT4, INT8}
# Of these equal values are equal bytes; not of numerics (1.5 and 1.50) and floats (0 and -0). The worker's list is `merge/compare.rs`.
EQUAL_AS_BYTES = {*INTEGERS, BOOL, BYTEA, TEXT, NAME, VARCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, UUID}

_ORDER = {
    **dict.fromkeys(INTEGERS, "INTEGER_ORDER"),
    **dict.fromkeys((DATE, TIME, TIMESTAMP, TIMESTAMPTZ), "TIMESTAMP_ORDER"),
    **dict.fromkeys((BYTEA, UUID, NAME), "BYTES_ORDER"),
    **dict.fromkeys((FLOAT4, FLOAT8), "FLOAT_ORDER"),
    NUMERIC: "NUMERIC_ORDER",
    BOOL: "BOOL_ORDER",
}
_NAMED = {
    exp.DataType.Type.SMALLINT: INT2,
    exp.DataType.Type.INT: INT4,
    exp.DataType.Type.BIGINT: INT8,
    exp.DataType.Type.DECIMAL: NUMERIC,
    exp.DataType.Type.DOUBLE: FLOAT8,
    exp.DataType.Type.FLOAT: FLOAT4,
    exp.DataType.Type.BOOLEAN: BOOL,
    exp.DataType.Type.DATE: DATE,
    exp.DataType.Type.TIMESTAMP: TIMESTAMP,
    exp.DataType.Type.TIMESTAMPTZ: TIMESTAMPTZ,
    exp.DataType.Type.UUID: UUID,
}


class Types:
    """Of the expressions of one block."""

    def __init__(self, block: Block, request: Request) -> None:
        self._block, self._request = block, request

    def column(self, node: exp.Column) -> Column | None:
        """The schema's column that a name means; None when that is not certain."""
        found = [one for one in self._block.instances if node.table in ("", one.alias) and one.has(node.name)]
        known = [one.relation.columns[node.name] for one in found if one.relation and not one.renamed and node.name in one.relation.columns]
        if len(known) != len(found) or not known or (self._block.opaque and not node.table):
            return None
        return known[0] if len({(one.type_oid, one.byte_ordered) for one in known}) == 1 else None

    def columns(self, node: exp.Expression) -> list[Column | None]:
        """The columns in an expression, those of a * too; None for one that is not certain."""
        if node.is_star:
            found = [one for one in self._block.instances if isinstance(node, exp.Star) or one.alias == node.args.get("table", exp.Star()).name]
            return [column for one in found for column in (one.relation.columns.values() if one.relation else [None])]
        return [self.column(one) for one in node.find_all(exp.Column)]

    def oid(self, node: exp.Expression) -> int:
        """The type OID; 0: not known."""
        node = node.unnest()
        if isinstance(node, exp.Column):
            column = self.column(node)
            return column.type_oid if column else 0
        if isinstance(node, exp.Cast):
            return _NAMED.get(node.to.this, 0)
        if isinstance(node, (exp.Count, exp.CountIf)):
            return INT8
        if isinstance(node, exp.Sum):
            return {INT2: INT8, INT4: INT8, INT8: NUMERIC, NUMERIC: NUMERIC}.get(self.oid(node.this), 0)
        if isinstance(node, (exp.Min, exp.Max)):
            return self.oid(node.this)
        if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)):
            return self._arithmetic(node)
        if isinstance(node, (exp.Neg, exp.Abs)):
            return self.oid(node.this)
        if isinstance(node, exp.Coalesce):
            kinds = {self.oid(part) for part in (node.this, *node.expressions)}
            return kinds.pop() if len(kinds) == 1 else 0
        return self._literal(node)

    def order(self, node: exp.Expression) -> str:
        """The midstream.sql.v1.Compare that orders an expression's values as the database does; empty: none is known to."""
        node = node.unnest()
        if isinstance(node, exp.Collate):
            collation = node.expression.name if isinstance(node.expression, (exp.Identifier, exp.Column)) else ""
            return "BYTES_ORDER" if collation in ("C", "POSIX", "ucs_basic") and self.oid(node.this) in (TEXT, VARCHAR) else ""
        oid = self.oid(node)
        if oid in (TEXT, VARCHAR):
            inner = node.this.unnest() if isinstance(node, (exp.Min, exp.Max)) else node
            column = self.column(inner) if isinstance(inner, exp.Column) else None
            return "BYTES_ORDER" if column and column.byte_ordered else ""
        return _ORDER.get(oid, "")

    def _arithmetic(self, node: exp.Binary) -> int:
        kinds = {self.oid(node.left), self.oid(node.right)}
        if kinds <= INTEGERS:
            return next(oid for oid in (INT8, INT4, INT2) if oid in kinds)
        return NUMERIC if kinds <= INTEGERS | {NUMERIC} else 0

    def _literal(self, node: exp.Expression) -> int:
        slot = self._request.slot(slot_number(node))
        if slot is not None:
            return slot.type_oid if slot.kind in (NUMBER, PARAMETER) else 0
        return INT4 if isinstance(node, exp.Literal) and node.is_int else 0
