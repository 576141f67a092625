"""One statement to one Plan."""

import logging
import re

import sqlglot
from google.protobuf.message import Message
from sqlglot import exp
from sqlglot.errors import SqlglotError

from db_mesh.planner import fallback, scatter, writes
from db_mesh.planner.answers import Outline, Refused
from db_mesh.planner.keys import key_column
from db_mesh.planner.merge import Merger
from db_mesh.planner.one_shard import common_keys, pin
from db_mesh.planner.request import Request
from db_mesh.planner.rules import Rules
from db_mesh.planner.taint import taints
from db_mesh.planner.walk import Walker
from db_mesh.schema import Schema

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that it keeps as plain text; so do we, by refusing

_EXPLAIN = re.compile(r"explain (?:\([^()]*\) |analyze |verbose )*")
_READS = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_CHANGES = (exp.Insert, exp.Update, exp.Delete)
_WRITING_CALLS = {"nextval", "setval", "pg_notify", "lo_import", "lo_unlink", "pg_advisory_lock", "pg_advisory_xact_lock"}
_VERBS = {"with": "SELECT", "table": "SELECT", "(": "SELECT"}


def plan(request: Request, rules: Rules, schema: Schema) -> Message:
    """The plan of a statement; a refusal is a plan too."""
    outline = Outline(_verb(request.sql), _class_of_verb(_verb(request.sql)))
    try:
        return _Planning(request, rules, schema, outline).run()
    except Refused as refused:
        return outline.refuse(refused)
    except RecursionError:
        return outline.refuse(Refused("the statement is nested too deeply to be planned", "flatten it", sqlstate="54001"))


def _verb(sql: str) -> str:
    first = re.match(r"\(|\w+", sql)
    word = first[0] if first else ""
    return _VERBS.get(word, word.upper())


def _class_of_verb(verb: str) -> str:
    if verb in ("SELECT", "VALUES", "EXPLAIN", "SHOW", "DECLARE", "PREPARE"):
        return "READ"
    return "WRITE" if verb in ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "LOCK", "CALL", "DO") else "ADMIN"


class _Planning:
    def __init__(self, request: Request, rules: Rules, schema: Schema, outline: Outline) -> None:
        self._request, self._rules, self._schema, self._outline = request, rules, schema, outline
        self._taints = taints(rules, schema)

    def run(self) -> Message:
        explain = _EXPLAIN.match(self._request.sql)
        root = self._parse(self._request.sql[explain.end() :] if explain else self._request.sql)
        if root is None:
            return self._unread()
        if not explain:
            return self._query(root)
        planned = self._query(root)
        if planned.HasField("merge"):
            raise Refused("EXPLAIN of a statement over several shards", "restrict it to one key, or run EXPLAIN on a shard itself")
        planned.verb = "EXPLAIN"
        if "analyze" not in explain[0]:
            setattr(planned, "class", 1)
        return planned

    def _parse(self, sql: str) -> exp.Expression | None:
        """The tree of a query or a change of rows; None for everything else, and for what sqlglot does not read."""
        try:
            trees = sqlglot.parse(sql, dialect="postgres")
        except (SqlglotError, RecursionError):
            return None
        root = trees[0] if len(trees) == 1 else None
        return root if isinstance(root, _READS + _CHANGES) else None

    def _unread(self) -> Message:
        """A statement that is not read as a tree: harmless only if it names nothing that is sharded."""
        self._outline.tables = sorted({name for _, name in self._schema.relations} & self._request.words)
        name = self._rules.mentioned(self._request.words)
        if name:
            hint = "run it on each shard for itself" if self._outline.klass == "ADMIN" else "write it as plain SELECT, INSERT, UPDATE or DELETE"
            raise Refused(f"{self._outline.verb} that names the sharded table {name}", hint)
        self._taints.check(self._request.words, self._request.words)
        return self._outline.home("the statement names no sharded table")

    def _query(self, root: exp.Expression) -> Message:
        walker = Walker(self._request, self._rules, self._schema)
        walker.statement(root)
        facts = walker.facts
        self._describe(root, walker)
        self._taints.check((one.relation.name for one in facts.home() if one.relation), self._request.calls)
        sharded, home, references = facts.sharded(), facts.home(), facts.references()
        if walker.missing and self._rules:
            self._outline.cacheable = False
        absent = next((one for one in sharded if one.relation is None), None)
        if absent is not None and absent.placed is not None:
            reason = f"{absent.placed.name} is sharded but does not exist on the home shard"
            raise Refused(reason, "create it on every shard", sqlstate="42P01", cacheable=False)
        for one in sharded:
            if one.placed is not None:
                key_column(one.placed, one.relation)
        if not sharded:
            return self._unsharded(root, bool(home) or walker.catalog, bool(references), facts)
        is_read = self._outline.klass == "READ" and root.find(*_CHANGES) is None
        if home and is_read and not walker.catalog and self._rules.gathers:
            return self._gathered(root, facts)
        if home or walker.catalog:
            name = home[0].alias if home else "the system catalogs"
            raise Refused(
                f"{sharded[0].placed.name} is sharded and {name} lies on the home shard only",
                "make the other table a reference table, or colocate it",
            )
        if root.find(exp.Into):
            raise Refused("SELECT INTO from sharded tables: the new table would lie on one shard", "create it by hand and insert into it")
        limit = writes.check_targets(root, facts, self._request)
        return self._on_shards(root, facts, limit)

    def _describe(self, root: exp.Expression, walker: Walker) -> None:
        """Class and tables, for the filters."""
        outline = self._outline
        changes = root if isinstance(root, _CHANGES) else root.find(*_CHANGES)
        if changes or root.find(exp.Lock) or root.find(exp.Into) or self._request.calls & (_WRITING_CALLS | self._schema.own_volatile):
            outline.klass = "WRITE"
        if isinstance(root, _CHANGES):
            outline.verb = root.key.upper()
        names = [one.placed.name if one.placed else (one.relation.name if one.relation else "") for one in walker.facts.instances]
        outline.tables = sorted({name for name in names if name} | set(walker.missing))

    def _unsharded(self, root: exp.Expression, home: bool, references: bool, facts) -> Message:
        writes.check_targets(root, facts, self._request)
        if references and not home and self._outline.klass == "READ":
            return self._outline.any_shard("reference tables only: every shard has all their rows")
        return self._outline.home(
            "unsharded tables lie on the home shard, where all reference tables are as well" if references else "no sharded table"
        )

    def _on_shards(self, root: exp.Expression, facts, limit: int) -> Message:
        pinned = pin(facts)
        write = root.find(*_CHANGES) is not None
        one = "all rows that can matter have the given key and lie on its shard, reference tables are whole there"
        if pinned is None:
            if write:
                raise writes.spread(facts)
            return self._scattered(root, facts)
        places = any(isinstance(block.node, exp.Insert) and block.instances and block.instances[0].sharded for block in facts.blocks)
        result = self._outline.by_key(one, pinned.table, pinned.key_type, pinned.keys)
        result.route.by_key.places, result.route.by_key.max_chars = places, limit
        common = common_keys(facts) == frozenset(pinned.keys)
        if not write and not pinned.one_key and (common or self._rules.gathers):
            self._subset(root, facts, result, common=common)
        return result

    def _subset(self, root: exp.Expression, facts, result: Message, *, common: bool) -> None:
        """Several keys: where they lie on several shards, the union over those shards if that can be proven; rows gathered from them otherwise.

        `common`: all tables have the same keys. Otherwise a shard has rows of one table that meet the wrong rows of another.
        """
        try:
            scattered = self._scattered(root, facts) if common else self._gathered(root, facts)
        except Refused as refused:
            result.proof += f" (keys on several shards are refused: {refused.reason})"
            return
        result.merge.CopyFrom(scattered.merge)
        result.splices.extend(scattered.splices)
        result.fragments.extend(scattered.fragments)
        result.route.by_key.subset = True
        result.proof = f"{result.proof}; keys on several shards: {scattered.proof}"

    def _scattered(self, root: exp.Expression, facts) -> Message:
        """A read of several shards: merged where that is proven, otherwise gathered."""
        try:
            return self._merged(root, facts)
        except Refused as unmerged:
            if not self._rules.gathers:
                raise
            result = self._gathered(root, facts)
            result.proof += f" (not merged: {unmerged.reason})"
            return result

    def _gathered(self, root: exp.Expression, facts) -> Message:
        return fallback.gathered(root, facts, self._request, self._schema, self._outline)

    def _merged(self, root: exp.Expression, facts) -> Message:
        proven = scatter.union(root, facts, self._request, self._schema)
        result = self._outline.all_shards("")
        merged = Merger(proven, self._request, result.merge).run()
        for start, end, text in sorted(merged.splices, key=lambda splice: splice[:2]):
            result.splices.add(start=self._request.byte_offset(start), end=self._request.byte_offset(end), text=text)
        result.proof = "; ".join(["the rows are the disjoint union of the shards' rows", *merged.rules])
        return result
