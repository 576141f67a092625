"""What a statement says of its tables: which ones stand in it, which keys they are tied to, and how they are tied to each other.

Two relations between sharded tables ("instances": one occurrence of a table in FROM, INTO or USING) are collected from equalities in WHERE, ON
and USING:

* `keys[i]`: sets of key values; rows of i with other keys cannot influence the statement's result.
* `ties`: (i, j) when rows of j whose key differs from that of the rows of i cannot influence it either.

An equality in WHERE, or in ON of an inner join, ties both ways: rows that fail it vanish. In ON of a LEFT JOIN it ties only towards the right side:
rows of the left side stay whatever it says. A FULL JOIN's ON ties nothing. A condition inside a subquery ties only the tables of that subquery:
to those of the outer query it may be any part of an expression (NOT EXISTS).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from db_mesh.planner.answers import KeySource
from db_mesh.planner.keys import KeyReader
from db_mesh.planner.rules import Placed
from db_mesh.schema import Relation


@dataclass(eq=False)
class Instance:
    """One occurrence of a table."""

    number: int
    alias: str
    relation: Relation | None  # as introspected; None: the schema does not know it
    placed: Placed | None  # None: at home
    block: "Block"
    renamed: bool = False  # `t as x(a, b)`: its columns go by other names
    nullable: bool = False  # an outer join may put NULLs in its place
    node: exp.Table | None = None  # where it stands
    keys: list[frozenset[KeySource]] = field(default_factory=list)

    @property
    def sharded(self) -> bool:
        return self.placed is not None and not self.placed.reference

    def has(self, column: str) -> bool:
        """Whether it has such a column, or may have."""
        return self.renamed or self.relation is None or column in self.relation.columns

    @property
    def key(self) -> str:
        return self.placed.key if self.placed and not self.renamed else ""


@dataclass(eq=False)
class Block:
    """One SELECT, UPDATE or DELETE with its own FROM."""

    node: exp.Expression
    parent: "Block | None"
    instances: list[Instance] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)  # of everything in FROM
    opaque: bool = False  # FROM holds something that is no plain table: a subquery, a CTE, a function
    merged: dict[str, "Instance"] = field(default_factory=dict)  # whose value a column of USING has

    def resolve(self, column: exp.Column) -> "Instance | None":
        """The sharded instance whose key the column is; None where it is another column, or not certain."""
        name, table = column.name, column.table
        block: Block | None = self
        while block is not None:
            owners = [one for one in block.instances if one.has(name) and table in ("", one.alias)]
            if len(owners) > 1 and name in block.merged:
                owners = [block.merged[name]]
            if owners or table in block.aliases or (not table and block.opaque):
                found = owners[0] if len(owners) == 1 else None
                return found if found and found.sharded and found.key == name else None
            block = block.parent
        return None


@dataclass
class Facts:
    """Of a whole statement."""

    instances: list[Instance] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    ties: set[tuple[int, int]] = field(default_factory=set)

    def sharded(self) -> list[Instance]:
        return [one for one in self.instances if one.sharded]

    def home(self) -> list[Instance]:
        return [one for one in self.instances if one.placed is None]

    def references(self) -> list[Instance]:
        return [one for one in self.instances if one.placed is not None and one.placed.reference]

    def keys_of(self, instance: Instance) -> list[frozenset[KeySource]]:
        """The key sets an instance is tied to, its own first."""
        found, seen, todo = [], {instance.number}, [instance.number]
        while todo:
            number = todo.pop(0)
            found += [keys for keys in self.instances[number].keys if keys not in found]
            before = [i for i, j in sorted(self.ties) if j == number and i not in seen]
            seen.update(before)
            todo += before
        return found

    def reached(self, start: Instance) -> set[int]:
        """The instances that `start` ties, itself included."""
        seen, todo = {start.number}, [start.number]
        while todo:
            number = todo.pop()
            after = [j for i, j in self.ties if i == number and j not in seen]
            seen.update(after)
            todo += after
        return seen


def conjuncts(condition: exp.Expression | None) -> Iterator[exp.Expression]:
    """The parts of a condition that all have to be true."""
    if condition is None:
        return
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from conjuncts(condition.left)
        yield from conjuncts(condition.right)
    else:
        yield condition


class Collector:
    """Reads equalities into facts."""

    def __init__(self, facts: Facts, reader: KeyReader) -> None:
        self._facts, self._reader = facts, reader

    def where(self, block: Block, condition: exp.Expression | None) -> None:
        """A condition that every row of the result has passed."""
        self.condition(block, condition, None, fixes=True)

    def condition(self, block: Block, condition: exp.Expression | None, towards: set[int] | None, *, fixes: bool) -> None:
        """`towards`: ties lead only to these instances (None: both ways); `fixes`: comparisons with values tie those instances."""
        for part in conjuncts(condition):
            for column, other in _equalities(part):
                self._tie(block, column, other, towards, fixes)
            if fixes and isinstance(part, exp.In):
                self._member(block, part, towards)

    def using(self, block: Block, left: Instance, right: Instance, towards: set[int] | None) -> None:
        """A column of USING, or of a NATURAL JOIN, that is the key of both."""
        self._link(block, left, right, towards)

    def _tie(self, block: Block, column: exp.Expression, other: exp.Expression, towards: set[int] | None, fixes: bool) -> None:
        instance = block.resolve(column) if isinstance(column, exp.Column) else None
        if instance is None:
            return
        partner = block.resolve(other) if isinstance(other, exp.Column) else None
        if partner is not None:
            self._link(block, instance, partner, towards)
        elif fixes and instance.block is block and (towards is None or instance.number in towards):
            keys = self._reader.read(other, instance)
            if keys is not None:
                instance.keys.append(keys)

    def _link(self, block: Block, a: Instance, b: Instance, towards: set[int] | None) -> None:
        if a is b or a.placed is None or b.placed is None or a.placed.group != b.placed.group:
            return
        for i, j in ((a, b), (b, a)):
            if j.block is block and (towards is None or j.number in towards):
                self._facts.ties.add((i.number, j.number))

    def _member(self, block: Block, part: exp.In, towards: set[int] | None) -> None:
        column = part.this.unnest()
        instance = block.resolve(column) if isinstance(column, exp.Column) else None
        values = part.args.get("expressions")
        if instance is None or instance.block is not block or not values or any(part.args.get(name) for name in ("query", "unnest", "field")):
            return
        if towards is not None and instance.number not in towards:
            return
        read = [self._reader.read(value, instance) for value in values]
        if all(keys is not None for keys in read):
            instance.keys.append(frozenset().union(*(keys for keys in read if keys is not None)))


def _equalities(part: exp.Expression) -> Iterator[tuple[exp.Expression, exp.Expression]]:
    """(a, b) and (b, a) of a = b, and of each place of (a, c) = (b, d)."""
    if not isinstance(part, exp.EQ):
        return
    left, right = part.left.unnest(), part.right.unnest()
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple) and len(left.expressions) == len(right.expressions):
        pairs = [(a.unnest(), b.unnest()) for a, b in zip(left.expressions, right.expressions, strict=True)]
    else:
        pairs = [(left, right)]
    for a, b in pairs:
        yield a, b
        yield b, a
