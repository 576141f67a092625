"""From a parsed statement to facts: every table in it, in every block, with the joins around it."""

from sqlglot import exp

from db_mesh.planner.answers import Refused
from db_mesh.planner.facts import Block, Collector, Facts, Instance
from db_mesh.planner.keys import KeyReader
from db_mesh.planner.request import Request
from db_mesh.planner.rules import Placed, Rules
from db_mesh.schema import Relation, Schema

CATALOGS = {"pg_catalog", "information_schema"}
# More tables than this in one statement cost more to relate than a person would wait for.
MAX_TABLES = 200


class Walker:
    """Fills `facts`. One per statement."""

    def __init__(self, request: Request, rules: Rules, schema: Schema) -> None:
        self.facts = Facts()
        self.missing: list[str] = []  # relations that the schema does not have
        self.catalog = False
        self._request, self._rules, self._schema = request, rules, schema
        self._path = schema.path(request.search_path, request.user)
        self._collect = Collector(self.facts, KeyReader(request))

    def statement(self, node: exp.Expression) -> None:
        self._query(node, None, frozenset())

    def relation(self, table: exp.Table) -> Relation | None:
        return self._schema.find(table.db, table.name, self._path)

    def _query(self, node: exp.Expression, parent: Block | None, ctes: frozenset[str]) -> None:
        ctes = self._with(node, parent, ctes)
        if isinstance(node, exp.Select):
            self._select(node, parent, ctes)
        elif isinstance(node, exp.SetOperation):
            self._query(node.left, parent, ctes)
            self._query(node.right, parent, ctes)
            block = self._block(node, parent)
            self._nested(block, ctes, [node.args.get(name) for name in ("order", "limit", "offset")])
        elif isinstance(node, exp.Subquery):
            self._query(node.this, parent, ctes)
            self._nested(self._block(node, parent), ctes, [node.args.get(name) for name in ("order", "limit", "offset")])
        elif isinstance(node, exp.Insert):
            self._insert(node, parent, ctes)
        elif isinstance(node, exp.Update):
            self._change(node, parent, ctes, [node.args.get("from_")])
        elif isinstance(node, exp.Delete):
            self._change(node, parent, ctes, node.args.get("using") or [])
        else:
            self._nested(self._block(node, parent), ctes, [node])

    def _with(self, node: exp.Expression, parent: Block | None, ctes: frozenset[str]) -> frozenset[str]:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        names = [cte.alias for cte in clause.expressions]
        for index, cte in enumerate(clause.expressions):
            visible = names if clause.args.get("recursive") else names[:index]
            self._query(cte.this, parent, ctes | frozenset(visible))
        return ctes | frozenset(names)

    def _block(self, node: exp.Expression, parent: Block | None) -> Block:
        block = Block(node, parent)
        self.facts.blocks.append(block)
        return block

    def _select(self, node: exp.Select, parent: Block | None, ctes: frozenset[str]) -> None:
        block = self._block(node, parent)
        source = node.args.get("from_")
        self._tree(block, source.this if source else None, node.args.get("joins") or [], node.args.get("laterals") or [], ctes)
        where = node.args.get("where")
        self._collect.where(block, where.this if where else None)
        skip = {"from_", "joins", "laterals", "with_", "locks", "into"}
        self._nested(block, ctes, [value for name, value in node.args.items() if name not in skip])

    def _change(self, node: exp.Update | exp.Delete, parent: Block | None, ctes: frozenset[str], sources: list) -> None:
        block = self._block(node, parent)
        self._source(block, node.this, ctes, target=True)
        for source in sources:
            source = source.this if isinstance(source, exp.From) else source
            if source is not None:
                self._tree(block, source, source.args.get("joins") or [], [], ctes)
        where = node.args.get("where")
        self._collect.where(block, where.this if where else None)
        skip = {"from_", "using", "this", "with_"}
        self._nested(block, ctes, [value for name, value in node.args.items() if name not in skip])

    def _insert(self, node: exp.Insert, parent: Block | None, ctes: frozenset[str]) -> None:
        block = self._block(node, parent)
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        self._source(block, target, ctes, target=True)
        rows = node.expression
        if isinstance(rows, exp.Query) and not isinstance(rows, exp.Values):
            self._query(rows, parent, ctes)
        elif rows is not None:
            self._nested(block, ctes, [rows])
        self._nested(block, ctes, [node.args.get("conflict"), node.args.get("returning")])

    def _nested(self, block: Block, ctes: frozenset[str], places: list) -> None:
        """The queries inside expressions."""
        todo = [part for place in places for part in (place if isinstance(place, list) else [place])]
        while todo:
            node = todo.pop()
            if not isinstance(node, exp.Expression):
                continue
            if isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
                self._query(node, block, ctes)
            elif isinstance(node, exp.Table):
                raise Refused("a table stands where the planner does not expect one", "write the statement in a simpler form")
            else:
                todo += [part for value in node.args.values() for part in (value if isinstance(value, list) else [value])]

    def _tree(self, block: Block, base: exp.Expression | None, joins: list, laterals: list, ctes: frozenset[str]) -> set[int]:
        """One join tree; the numbers of the instances in it."""
        left = self._source(block, base, ctes) if base is not None else set()
        for lateral in laterals:
            self._source(block, lateral, ctes)
        for join in joins:
            right = self._source(block, join.this, ctes)
            self._join(block, join, left, right, ctes)
            left = left | right
        return left

    def _source(self, block: Block, node: exp.Expression, ctes: frozenset[str], *, target: bool = False) -> set[int]:
        alias = node.alias_or_name if isinstance(node, (exp.Table, exp.Subquery, exp.Values, exp.Lateral, exp.Unnest)) else ""
        if alias and not (isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table)):
            block.aliases.add(alias)
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            joins = node.args.get("joins") or []
            own = self._table(block, node, ctes, target)
            for join in joins if not target else []:
                right = self._source(block, join.this, ctes)
                self._join(block, join, own, right, ctes)
                own = own | right
            return own
        block.opaque = True
        if isinstance(node, (exp.Subquery, exp.Paren)) and isinstance(node.this, exp.Table):
            return self._tree(block, node.this, node.args.get("joins") or [], [], ctes)
        if isinstance(node, exp.Subquery):
            self._query(node, block, ctes)
        elif isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            self._query(node.this, block, ctes)
        else:
            self._nested(block, ctes, [value for name, value in node.args.items() if name != "alias"])
        return set()

    def _table(self, block: Block, table: exp.Table, ctes: frozenset[str], target: bool) -> set[int]:
        if not table.db and table.name in ctes and not target:
            block.opaque = True
            return set()
        if table.catalog:
            raise Refused(f"{table.catalog}.{table.db}.{table.name}: names with a database are not planned", "leave the database's name out")
        relation = self.relation(table)
        placed = self._placed(table, relation)
        if relation is None and (table.db in CATALOGS or (not table.db and table.name.startswith("pg_"))):
            self.catalog = True
            return set()
        if relation is None:
            self.missing.append(table.name)
        alias = table.args.get("alias")
        instance = Instance(
            len(self.facts.instances), table.alias_or_name, relation, placed, block, bool(alias and alias.args.get("columns")), node=table
        )
        self.facts.instances.append(instance)
        block.instances.append(instance)
        if len(self.facts.instances) > MAX_TABLES:
            raise Refused(f"more than {MAX_TABLES} tables in one statement", "split it", sqlstate="54000")
        return {instance.number}

    def _placed(self, table: exp.Table, relation: Relation | None) -> Placed | None:
        usual = self._schema.find("", table.name, self._schema.path("", self._request.user))
        return self._rules.find(table.db or (relation.schema if relation else ""), table.name, usual.schema if usual else "public")

    def _join(self, block: Block, join: exp.Join, left: set[int], right: set[int], ctes: frozenset[str]) -> None:
        side = join.side.upper()
        towards = {"LEFT": right, "RIGHT": left, "FULL": set[int]()}.get(side)
        condition = join.args.get("on")
        self._collect.condition(block, condition, towards, fixes=side != "FULL")
        names = {column.name for column in join.args.get("using") or []}
        instances = self.facts.instances
        for j in right if side != "FULL" else ():
            key = instances[j].key
            if key and (key in names or join.method.upper() == "NATURAL"):
                self._using(block, key, [instances[i] for i in sorted(left)], instances[j], towards, side)
        for number in {"LEFT": right, "RIGHT": left, "FULL": left | right}.get(side, set()):
            instances[number].nullable = True
        self._nested(block, ctes, [condition])

    def _using(self, block: Block, key: str, left: list[Instance], right: Instance, towards: set[int] | None, side: str) -> None:
        owners = [one for one in left if one.has(key)]
        if owners and owners[0].key == key and not owners[0].nullable:
            block.merged[key] = right if side == "RIGHT" else owners[0]
            self._collect.using(block, owners[0], right, towards)
