"""How the shards' rows of a proven union become the statement's answer: groups, DISTINCT, ORDER BY, LIMIT."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message
from sqlglot import exp

from db_mesh.planner import text
from db_mesh.planner.answers import Refused
from db_mesh.planner.request import NUMBER, PARAMETER, Request
from db_mesh.planner.scatter import Union
from db_mesh.planner.types import EQUAL_AS_BYTES, INT8, NUMERIC, Types
from xds.messages import enum_values

# Column numbers from here on are hidden columns, counted from the first hidden one: behind a * nobody here knows how many columns there are.
HIDDEN = 1 << 16
# PostgreSQL's names of what sqlglot calls otherwise.
_NAMES = {exp.LogicalOr: "bool_or", exp.LogicalAnd: "bool_and", exp.GroupConcat: "string_agg", exp.ArrayAgg: "array_agg"}
_FUNCTIONS = {exp.Count: "COUNT", exp.Sum: "SUM", exp.Min: "MIN", exp.Max: "MAX"}


@dataclass
class Merged:
    """A Merge message in the making, with the splices and the rules it rests on."""

    merge: Message
    splices: list[tuple[int, int, str]] = field(default_factory=list)  # characters of the normalised text
    rules: list[str] = field(default_factory=list)


class Merger:
    def __init__(self, proven: Union, request: Request, merge: Message) -> None:
        self._union, self._root, self._request = proven, proven.root, request
        self._types = Types(proven.block, request)
        self._merged = Merged(merge)
        self._output = [one.this if isinstance(one, exp.Alias) else one for one in self._root.expressions]
        self._names = [one.alias_or_name if isinstance(one, (exp.Alias, exp.Column)) else "" for one in self._root.expressions]
        self._star = next((index for index, one in enumerate(self._output) if one.is_star), None)

    def run(self) -> Merged:
        """The merge. Raises Refused with the clause that cannot be restored."""
        self._windows()
        grouped = self._groups()
        self._distinct(grouped)
        self._order(hidden_allowed=not grouped and not self._root.args.get("distinct"))
        self._limit(grouped)
        return self._merged

    def _windows(self) -> None:
        for window in self._root.find_all(exp.Window):
            if window.find_ancestor(exp.Select) is not self._root:
                continue
            if not any(self._union.is_key(part) for part in window.args.get("partition_by") or []):
                raise Refused("a window function over several shards", "partition it by the sharding key, or restrict the statement to one key")
            self._say("windows lie within one key")

    def _groups(self) -> bool:
        """Whether groups are combined over shards."""
        group = self._root.args.get("group")
        by = self._group_columns(group) if group else []
        aggregates = [node for place in self._own() for node in place.find_all(exp.AggFunc) if self._is_own(node)]
        if group and any(self._union.is_key(one) for one in by):
            self._say("groups lie within one key")
            return False
        if not aggregates and not group:
            if self._root.args.get("having"):
                raise Refused("HAVING over several shards", "group by the sharding key")
            return False
        if self._root.args.get("having"):
            raise Refused("HAVING over groups that span shards: a shard's part of a group is not the group", "group by the sharding key as well")
        self._partial(by)
        return True

    def _own(self) -> Iterable[exp.Expression]:
        """The places where this SELECT's aggregates can stand."""
        yield from self._root.expressions
        yield from (place for place in (self._root.args.get("order"), self._root.args.get("having")) if place is not None)

    def _is_own(self, node: exp.Expression) -> bool:
        inside_window = node.find_ancestor(exp.Window)
        return node.find_ancestor(exp.Select) is self._root and not (inside_window and inside_window.find_ancestor(exp.Select) is self._root)

    def _group_columns(self, group: exp.Group) -> list[exp.Expression]:
        if any(group.args.get(name) for name in ("grouping_sets", "cube", "rollup", "all", "totals")):
            raise Refused("GROUPING SETS, CUBE and ROLLUP over several shards", "group by plain columns, or restrict the statement to one key")
        columns = []
        for one in group.expressions:
            place = int(one.name) - 1 if isinstance(one, exp.Literal) and one.is_int else None
            if place is not None and not (0 <= place < len(self._output) and (self._star is None or place < self._star)):
                raise Refused("GROUP BY by position over several shards: the position is behind a *", "name the column")
            columns.append(self._output[place] if place is not None else self._named(one))
        return columns

    def _named(self, node: exp.Expression) -> exp.Expression:
        """GROUP BY takes an input column first, then an output name."""
        is_input = isinstance(node, exp.Column) and (node.table or self._types.column(node) is not None)
        if not is_input and isinstance(node, exp.Column) and node.name in self._names:
            return self._output[self._names.index(node.name)]
        return node

    def _partial(self, by: list[exp.Expression]) -> None:
        """COUNT, SUM, MIN, MAX per shard, combined by group."""
        if self._star is not None:
            raise Refused("* beside aggregates over several shards", "name the columns")
        for index, node in enumerate(self._output):
            if any(node == one for one in by):
                self._merged.merge.group.append(index)
            else:
                self._aggregate(index, node)
        self._comparable(by)
        missing = [one for one in by if all(one != node for node in self._output)]
        if missing:
            raise Refused("GROUP BY over several shards by something that is not in the select list", "select it as well")
        self._say("groups are combined from each shard's partial counts, sums, minima and maxima")

    def _aggregate(self, index: int, node: exp.Expression) -> None:
        if isinstance(node, exp.Filter):
            node = node.this
        function = _FUNCTIONS.get(type(node))
        if function is None:
            what = _NAMES.get(type(node), node.key) if isinstance(node, exp.AggFunc) else "an expression over aggregates"
            hint = "select COUNT, SUM, MIN and MAX as they are and compute the rest in the application, or group by the sharding key"
            raise Refused(f"{what} over several shards cannot be combined from the shards' own", hint)
        compare = "INTEGER_ORDER"
        if function == "SUM":
            compare = {INT8: "INTEGER_ORDER", NUMERIC: "NUMERIC_ORDER"}.get(self._types.oid(node), "")
        elif function in ("MIN", "MAX"):
            compare = self._types.order(node)
        distinct = isinstance(node.this, exp.Distinct)
        if distinct and function in ("COUNT", "SUM") and not all(self._union.is_key(one) for one in node.this.expressions):
            raise Refused(
                f"{function}(DISTINCT ...) over several shards counts what two shards have in common twice", "count distinct sharding keys only"
            )
        if distinct and function in ("MIN", "MAX", "SUM"):
            raise Refused(f"{function}(DISTINCT ...) over several shards", "leave DISTINCT out, or restrict the statement to one key")
        if not compare:
            raise Refused(
                f"{function} over several shards of a type whose order or exact sum is not known here",
                "floats and text of other collations are not merged",
            )
        target = self._merged.merge.aggregates.add(column=index)
        target.function = enum_values("midstream.sql.v1.Aggregate.Function")[function]
        target.compare = enum_values("midstream.sql.v1.Compare")[compare]

    def _distinct(self, grouped: bool) -> None:
        distinct = self._root.args.get("distinct")
        if distinct is None:
            return
        on = distinct.args.get("on")
        parts = (on.expressions if isinstance(on, exp.Tuple) else [on]) if on else self._output
        if any(self._union.is_key(one) or (one.is_star and self._union.has_keys()) for one in parts):
            self._say("equal rows lie within one key")
        elif on or grouped:
            raise Refused("DISTINCT ON, or DISTINCT over groups, over several shards", "include the sharding key")
        else:
            self._comparable(parts)
            self._merged.merge.distinct = True
            self._say("rows that two shards have in common are given once")

    def _comparable(self, nodes: list[exp.Expression]) -> None:
        """Equal values have to be equal bytes. The worker checks the types; collations it cannot see."""
        columns = [column for node in nodes for column in self._types.columns(node)]
        kinds = {self._types.oid(node) for node in nodes} - {0}
        unlike = not kinds <= EQUAL_AS_BYTES or any(node.find(exp.Collate) for node in nodes)
        if unlike or any(column is None or not column.deterministic for column in columns):
            reason = "DISTINCT or GROUP BY over several shards by something whose equality is not known here"
            raise Refused(reason, "use plain columns of a deterministic collation, or include the sharding key")

    def _order(self, *, hidden_allowed: bool) -> None:
        order = self._root.args.get("order")
        for one in order.expressions if order else ():
            if not isinstance(one, exp.Ordered):
                raise Refused("ORDER BY in this form over several shards", "order by plain columns")
            index, node = self._order_column(one.this, hidden_allowed)
            compare = self._types.order(node)
            if not compare:
                hint = 'order by numbers, timestamps or bytes; text in byte order: ORDER BY name COLLATE "C"'
                raise Refused("ORDER BY over several shards by a type or collation whose order is not known here", hint)
            target = self._merged.merge.order.add(column=index, descending=bool(one.args.get("desc")), nulls_first=bool(one.args.get("nulls_first")))
            target.compare = enum_values("midstream.sql.v1.Compare")[compare]
        if order:
            self._say("the shards' rows come ordered and are merged in that order")

    def _order_column(self, node: exp.Expression, hidden_allowed: bool) -> tuple[int, exp.Expression]:
        """The output column that an ORDER BY item is; a hidden one is added where it is none."""
        if isinstance(node, exp.Literal) and node.is_int:
            index = int(node.name) - 1
            if self._star is None and 0 <= index < len(self._output):
                return index, self._output[index]
            raise Refused("ORDER BY by position over several shards: the position is behind a *", "name the column")
        bare = node.name if isinstance(node, exp.Column) and not node.table else ""
        for index, (name, output) in enumerate(zip(self._names, self._output, strict=True)):
            if (self._star is None or index < self._star) and ((bare and bare == name) or output == node):
                return index, output
        if bare and bare in self._names:
            raise Refused("ORDER BY over several shards by an output column behind a *", "name the columns instead of *")
        return self._hide(node, hidden_allowed), node

    def _hide(self, node: exp.Expression, allowed: bool) -> int:
        column = node.this if isinstance(node, exp.Collate) else node
        if not allowed or not isinstance(column, exp.Column) or self._types.column(column) is None:
            raise Refused("ORDER BY over several shards by an expression that is not in the select list", "select the expression and order by it")
        self._say("columns to order by are added behind the others and cut off again")
        sql = ".".join(_identifier(part) for part in column.parts)
        if isinstance(node, exp.Collate):
            sql += ' collate "C"'
        hidden = self._merged.merge.hidden
        at = text.end_of_select_list(self._request)
        self._merged.splices.append((at, at, f", {sql} as midstream_order_{hidden} "))
        self._merged.merge.hidden = hidden + 1
        return HIDDEN + hidden

    def _limit(self, grouped: bool) -> None:
        clauses = [self._root.args.get("limit"), self._root.args.get("offset")]
        if not any(clauses):
            return
        tail = text.tail(self._request)
        if tail is None or any(
            isinstance(one, exp.Fetch) and one.args.get("limit_options") and one.args["limit_options"].args.get("with_ties") for one in clauses
        ):
            raise Refused("LIMIT in this form over several shards", "end the statement with LIMIT and OFFSET by plain numbers or parameters")
        for name, amount in (("limit", tail.limit), ("offset", tail.offset)):
            if amount:
                self._bound(name, amount)
        both = " + ".join(f"({amount})::bigint" for amount in (tail.limit, tail.offset) if amount)
        if grouped or not tail.limit:
            # No limit on the shards; but the statement's parameters have to stay in it, or Bind would give too many.
            keep = any(self._is_parameter(amount) for amount in (tail.limit, tail.offset))
            self._merged.splices.append((tail.start, tail.end, f" limit nullif({both}, {both})" if keep else ""))
        elif tail.offset:
            self._merged.splices.append((tail.start, tail.end, f" limit {both}"))
        self._say("the merge counts LIMIT and OFFSET" + ("" if grouped else ", each shard gives as many rows as that can need"))

    def _is_parameter(self, amount: str) -> bool:
        slot = self._request.slot(int(amount[2:])) if amount.startswith(":p") else None
        return slot is not None and slot.kind == PARAMETER

    def _bound(self, name: str, amount: str) -> None:
        target = getattr(self._merged.merge, name)
        if not amount.startswith(":p"):
            target.constant = int(amount)
            return
        slot = self._request.slot(int(amount[2:]))
        if slot is None or not (slot.kind == PARAMETER or (slot.kind == NUMBER and slot.type_oid in (20, 23))):
            raise Refused(f"{name.upper()} over several shards by something that is no whole number", "give a whole number or a parameter")
        target.slot = int(amount[2:])

    def _say(self, rule: str) -> None:
        if rule not in self._merged.rules:
            self._merged.rules.append(rule)


def _identifier(part: exp.Expression) -> str:
    name = part.name
    return text.quoted(name) if part.args.get("quoted") else name
