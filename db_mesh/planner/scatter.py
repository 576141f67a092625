"""The second proof: the statement's rows on one database are the disjoint union of its rows on the shards, and a merge restores the rest.

The union is shown by the joins (`_union`); what happens to the rows afterwards (groups, DISTINCT, ORDER BY, LIMIT) is either confined to one shard,
because the rows that belong together have one key, or done again over the shards' results (`merge`).
"""

from sqlglot import exp

from db_mesh.planner.answers import Refused
from db_mesh.planner.facts import Block, Facts, Instance
from db_mesh.planner.request import Request
from db_mesh.schema import Schema

_ADVICE = "restrict every sharded table to a value of its key, or split the statement"
# Functions whose value differs from server to server, or that change something: a shard's own is not the database's.
_LOCAL = {
    "pg_backend_pid", "inet_server_addr", "inet_server_port", "inet_client_addr", "inet_client_port", "pg_postmaster_start_time", "txid_current",
    "pg_current_xact_id", "pg_current_snapshot", "txid_current_snapshot", "pg_export_snapshot", "pg_is_in_recovery", "pg_current_wal_lsn", "version",
}  # fmt: skip
_HARMLESS = {"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "pg_sleep"}
_CLOCK = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.CurrentDatetime, exp.Localtime, exp.Localtimestamp)
_CLOCK_NAMES = {"now", "statement_timestamp", "transaction_timestamp", "clock_timestamp", "timeofday"}


class Union:
    """A root SELECT whose rows are the disjoint union of the shards'."""

    def __init__(self, root: exp.Select, block: Block, anchor: Instance) -> None:
        self.root, self.block, self.anchor = root, block, anchor

    def is_key(self, node: exp.Expression) -> bool:
        """Whether an expression is the key of a table whose rows are never NULLs of an outer join: rows of one value are on one shard."""
        node = node.unnest()
        instance = self.block.resolve(node) if isinstance(node, exp.Column) else None
        return instance is not None and instance.block is self.block and not instance.nullable

    def has_keys(self) -> bool:
        """Whether * has the key of such a table."""
        return any(one.sharded and not one.nullable and not one.renamed for one in self.block.instances) and bool(self.anchor.key)


def union(root: exp.Expression, facts: Facts, request: Request, schema: Schema) -> Union:
    """Proves the union. Raises Refused with what stands against it."""
    if not isinstance(root, exp.Select):
        raise Refused("set operations and VALUES over sharded tables have to be on one shard", _ADVICE)
    block = next(block for block in facts.blocks if block.node is root)
    if root.args.get("with_"):
        raise Refused("a WITH query over sharded tables has to be on one shard", _ADVICE)
    for name, what in (("locks", "FOR UPDATE and FOR SHARE"), ("into", "SELECT INTO"), ("windows", "a WINDOW clause"), ("sample", "TABLESAMPLE")):
        if root.args.get(name) or (name == "sample" and root.find(exp.TableSample)):
            raise Refused(f"{what} over several shards", _ADVICE)
    anchor = _anchor(facts, block)
    _joins(root, facts, block)
    _subqueries(facts, block, anchor)
    _functions(root, request, schema)
    return Union(root, block, anchor)


def _anchor(facts: Facts, block: Block) -> Instance:
    """The table by whose key all others lie."""
    own = [one for one in block.instances if one.sharded]
    if not own:
        raise Refused("a sharded table inside a subquery has to be tied to one shard by its key", _ADVICE)
    for candidate in own:
        reached = facts.reached(candidate)
        if all(other.number in reached for other in own):
            return candidate
    names = " and ".join(sorted({one.placed.name for one in own if one.placed}))
    raise Refused(
        f"a join of {names} whose rows do not lie together: it is not by their sharding keys, or they are not colocated",
        "join sharded tables by their keys and colocate them in the Sharding, or restrict each to one value of its key",
    )


def _joins(root: exp.Select, facts: Facts, block: Block) -> None:
    """Outer joins must not keep rows of tables that every shard has."""
    if block.opaque:
        raise Refused("a subquery, WITH query or function in FROM beside sharded tables has to be on one shard", _ADVICE)
    base = root.args["from_"].this
    by_alias = {one.alias: one for one in block.instances}
    left_sharded = _is_sharded(by_alias, base)
    for join in root.args.get("joins") or []:
        right_sharded = _is_sharded(by_alias, join.this)
        side = join.side.upper()
        if join.this.args.get("joins"):
            raise Refused("a join in parentheses over several shards", "write the joins in one row")
        kept_everywhere = (side == "LEFT" and right_sharded and not left_sharded) or (side == "RIGHT" and left_sharded and not right_sharded)
        if side == "FULL" or kept_everywhere:
            reason = f"a {side} JOIN over several shards: each shard would give the rows without a partner again"
            raise Refused(reason, _ADVICE)
        if side == "RIGHT" and right_sharded and left_sharded and len(block.instances) > 2:
            raise Refused("a RIGHT JOIN of more than two tables over several shards", "write it as LEFT JOIN")
        left_sharded = left_sharded or right_sharded
    if base.args.get("joins"):
        raise Refused("a join in parentheses over several shards", "write the joins in one row")


def _is_sharded(by_alias: dict[str, Instance], table: exp.Expression) -> bool:
    instance = by_alias.get(table.alias_or_name)
    return instance is not None and instance.sharded


def _subqueries(facts: Facts, block: Block, anchor: Instance) -> None:
    reached = facts.reached(anchor)
    for other in facts.sharded():
        if other.number not in reached:
            name = other.placed.name if other.placed else other.alias
            raise Refused(f"a subquery on {name} that is not tied to the outer query by the sharding key", _ADVICE)
    for nested in facts.blocks:
        if nested is not block and any(nested.node.args.get(name) for name in ("limit", "offset", "fetch")):
            raise Refused("LIMIT in a subquery over several shards", _ADVICE)


def changing_calls(request: Request, schema: Schema) -> list[str]:
    """Functions of the statement whose value is a server's own, or that change something."""
    return sorted(request.calls & ((schema.volatile | schema.own_volatile | _LOCAL) - _HARMLESS))


def _functions(root: exp.Select, request: Request, schema: Schema) -> None:
    for node in root.find_all(exp.Anonymous):
        if node.name.lower() in schema.aggregates:
            raise Refused(f"the aggregate {node.name.lower()} over several shards cannot be combined from the shards' own", _ADVICE)
    changing = changing_calls(request, schema)
    if changing:
        raise Refused(
            f"{changing[0]}() over several shards: each shard would call its own",
            "call it in a statement of its own, or restrict this one to one key",
        )
    shown = [*root.expressions, root.args.get("group"), root.args.get("order"), root.args.get("distinct")]
    for place in shown:
        for node in place.walk() if place is not None else ():
            named = isinstance(node, exp.Anonymous) and node.name.lower() in _CLOCK_NAMES
            if isinstance(node, _CLOCK) or named:
                raise Refused("the time of the transaction in the result of several shards: each has its own", "pass the time as a parameter")
