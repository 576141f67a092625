"""Expressions that are plainly the value of a key."""

from typing import Protocol

from sqlglot import exp

from db_mesh.planner.answers import KeySource, Refused
from db_mesh.planner.request import BITS, NUMBER, PARAMETER, Request
from db_mesh.planner.rules import Placed
from db_mesh.schema import Column, Relation

# Casts that leave a key value what it is, with the OID of the type, by type of key.
CASTS: dict[str, dict[exp.DataType.Type, int]] = {
    "INTEGER": {exp.DataType.Type.SMALLINT: 21, exp.DataType.Type.INT: 23, exp.DataType.Type.BIGINT: 20},
    "TEXT": {exp.DataType.Type.TEXT: 25, exp.DataType.Type.VARCHAR: 1043},
    "UUID": {exp.DataType.Type.UUID: 2950},
    "BYTES": {exp.DataType.Type.VARBINARY: 17},
}
ARRAY_OF = {21: 1005, 23: 1007, 20: 1016, 25: 1009, 1043: 1015, 17: 1001, 2950: 2951}
KEY_TYPES = {20: "INTEGER", 21: "INTEGER", 23: "INTEGER", 25: "TEXT", 1043: "TEXT", 17: "BYTES", 2950: "UUID"}


def key_column(placed: Placed, relation: Relation | None) -> Column:
    """The key's column in the live schema. Raises Refused where its equality is not that of the canonical bytes."""
    column = relation.columns.get(placed.key) if relation else None
    if column is None:
        raise Refused(
            f"Sharding of {placed.name}: the table has no column {placed.key}, which the rule names as its key", "mend the rule or the table"
        )
    found = KEY_TYPES.get(column.type_oid)
    if found is None or (placed.key_type not in ("KEY_TYPE_UNSPECIFIED", found)):
        reason = f"Sharding of {placed.name}: the key {placed.key} is of type {column.type_name}, which cannot be a key here"
        raise Refused(reason, "keys are smallint, integer, bigint, text, varchar, uuid or bytea, and agree with the rule's key_type")
    if not column.deterministic:
        raise Refused(f"Sharding of {placed.name}: the key's collation holds different texts equal", "use a deterministic collation for the key")
    return column


class HasKey(Protocol):
    """What `read` needs of an occurrence of a table."""

    placed: Placed | None
    relation: Relation | None


class KeyReader:
    """Reads key values for instances of sharded tables."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def read(self, value: exp.Expression, instance: HasKey) -> frozenset[KeySource] | None:
        """The key values that a column may have if it equals `value`; None: not known before the statement runs."""
        if instance.placed is None:
            return None
        column = key_column(instance.placed, instance.relation)
        value = value.unnest()
        if isinstance(value, exp.Any):
            return self._any(value.this.unnest(), column)
        source = self.source(value, column)
        return None if source is None else frozenset({source})

    def source(self, value: exp.Expression, column: Column, *, array: bool = False) -> KeySource | None:
        """One slot or constant that is the value of `column`."""
        value, negated = value.unnest(), False
        if isinstance(value, exp.Neg):
            value, negated = value.this.unnest(), True
        oid = ARRAY_OF[column.type_oid] if array else column.type_oid
        if isinstance(value, exp.Cast) and not negated and not array:
            cast = _cast(value, KEY_TYPES[column.type_oid])
            if cast is None:
                return None
            value, oid = value.this.unnest(), cast
            return self._slot(value, oid, KEY_TYPES[column.type_oid], negated, array, cast=True)
        return self._slot(value, oid, KEY_TYPES[column.type_oid], negated, array, cast=False)

    def _slot(self, value: exp.Expression, oid: int, key_type: str, negated: bool, array: bool, *, cast: bool) -> KeySource | None:
        number = slot_number(value)
        slot = self._request.slot(number) if number else None
        if slot is None:
            return None
        if slot.kind == PARAMETER:
            inferred = oid if slot.type_oid == 0 and (cast or self._request.used_once(slot)) else 0
            return KeySource(slot=number, negated=negated, type_oid=inferred, array=array)
        if slot.kind == BITS or (slot.kind == NUMBER and (key_type != "INTEGER" or slot.type_oid == 1700 or array)):
            return None
        return KeySource(slot=number, negated=negated, type_oid=oid if slot.kind != NUMBER else 0, array=array)

    def _any(self, value: exp.Expression, column: Column) -> frozenset[KeySource] | None:
        """= ANY($1), = ANY($1::bigint[]), = ANY(ARRAY[...])."""
        if isinstance(value, exp.Array):
            read = [self.source(one, column) for one in value.expressions]
            return frozenset(one for one in read if one) if read and all(read) else None
        if isinstance(value, exp.Cast):
            inner = value.to.expressions[0] if value.to.this == exp.DataType.Type.ARRAY and value.to.expressions else None
            element = CASTS[KEY_TYPES[column.type_oid]].get(inner.this) if isinstance(inner, exp.DataType) and not inner.expressions else None
            if element is None:
                return None
            source = self._slot(value.this.unnest(), ARRAY_OF[element], KEY_TYPES[column.type_oid], False, True, cast=True)
        else:
            source = self.source(value, column, array=True)
        return None if source is None else frozenset({source})


def slot_number(value: exp.Expression | None) -> int:
    """N of :pN; 0 for anything else."""
    name = value.this if isinstance(value, exp.Placeholder) else None
    return int(name[1:]) if isinstance(name, str) and name[:1] == "p" and name[1:].isdigit() else 0


def _cast(value: exp.Cast, key_type: str) -> int | None:
    """The OID of a cast that changes no key value; None for the others (numeric rounds, varchar(n) cuts)."""
    if isinstance(value, exp.TryCast) or value.to.expressions:
        return None
    return CASTS[key_type].get(value.to.this)
