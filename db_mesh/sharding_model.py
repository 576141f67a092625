"""The kind Sharding: how the tables of a Database lie on its shards."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from google.protobuf.message import Message
from pydantic import BeforeValidator, Field, model_validator

from db_mesh.placement import bucket_problems, equal_runs, list_problems, range_problems
from mesh_core.model.check import reference
from mesh_core.model.kinds import Authored, Compiled, World
from mesh_core.model.objects import suggest
from mesh_core.model.problem import Problem
from mesh_core.model.values import Name, Spec
from xds.messages import enum_values, message, type_url


def _key_text(value: Any) -> Any:
    """A key's value is its text; an integer may be written without quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


KeyText = Annotated[str, BeforeValidator(_key_text)]


class BucketRun(Spec):
    """Buckets first to last, both included."""

    first: Annotated[int, Field(ge=0, lt=16384)]
    last: Annotated[int, Field(ge=0, lt=16384)]
    shard: Name


class Span(Spec):
    """from <= key < to; an end left out has no bound."""

    from_: KeyText | None = Field(default=None, alias="from")
    to: KeyText | None = None
    shard: Name


class Values(Spec):
    values: Annotated[list[KeyText], Field(min_length=1)]
    shard: Name


class Table(Spec):
    """One of: method (hash, range or list) with a key; colocate with a key; reference."""

    name: Annotated[str, Field(min_length=1)]
    key: str | None = None
    key_type: Literal["integer", "text", "bytes", "uuid"] | None = None
    method: Literal["hash", "range", "list"] | None = None
    buckets: list[BucketRun] | None = None
    ranges: list[Span] | None = None
    lists: list[Values] | None = None
    otherwise: Name | None = None
    colocate: str | None = None
    reference: bool = False

    @model_validator(mode="after")
    def _one_placement(self) -> "Table":
        if sum((self.method is not None, self.colocate is not None, self.reference)) != 1:
            raise ValueError("give exactly one of method (hash, range, list), colocate and reference")
        if self.reference:
            if self.key is not None:
                raise ValueError("a reference table has no key: every shard has all its rows")
        elif not self.key:
            raise ValueError("needs key: the column that decides the shard")
        self._only("buckets", "hash")
        self._only("ranges", "range")
        self._only("lists", "list")
        self._only("otherwise", "list")
        if self.method == "range" and not self.ranges:
            raise ValueError("method range needs ranges")
        if self.method == "list" and not self.lists:
            raise ValueError("method list needs lists")
        return self

    def _only(self, field: str, method: str) -> None:
        if getattr(self, field) is not None and self.method != method:
            raise ValueError(f"{field} belongs to method {method}")


class ShardingSpec(Spec):
    """Tables that are not named lie on `home`; left out, that is the first shard."""

    database: Name
    home: Name | None = None
    gather_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 256 << 20  # of other shards, by one read that no merge covers; 0: refused
    tables: list[Table] = Field(default_factory=list)


def check_sharding(owner: Authored, world: World) -> Iterable[Problem]:
    spec = owner.spec
    yield from reference(owner, "spec.database", "Database", spec.database, world)
    yield from _one_per_database(owner, world)
    database = world.get("Database", spec.database)
    shards = [shard.name for shard in database.spec.shards] if database else []
    if database is not None:
        for path, name in _shards_named(spec):
            if name not in shards:
                yield owner.problem(path, f"Database {spec.database} has no shard {name}", suggest(name, shards))
    yield from _tables(owner)


def _one_per_database(owner: Authored, world: World) -> Iterator[Problem]:
    for other in world.all("Sharding"):
        if other is owner:
            return
        if other.spec.database == owner.spec.database:
            reason = f"Database {owner.spec.database} is sharded by {other} already"
            yield owner.problem("spec.database", reason, "put the tables into one Sharding")


def _shards_named(spec: ShardingSpec) -> Iterator[tuple[str, str]]:
    if spec.home is not None:
        yield "spec.home", spec.home
    for number, table in enumerate(spec.tables):
        path = f"spec.tables[{number}]"
        if table.otherwise is not None:
            yield f"{path}.otherwise", table.otherwise
        for field in ("buckets", "ranges", "lists"):
            for index, part in enumerate(getattr(table, field) or ()):
                yield f"{path}.{field}[{index}].shard", part.shard


def _tables(owner: Authored) -> Iterator[Problem]:
    tables = {table.name: table for table in owner.spec.tables}
    seen: set[str] = set()
    for number, table in enumerate(owner.spec.tables):
        path = f"spec.tables[{number}]"
        if table.name in seen:
            yield owner.problem(f"{path}.name", f"table {table.name} is listed twice", "keep one of them")
        seen.add(table.name)
        for field, reason, advice in _placement_problems(table):
            yield owner.problem(f"{path}.{field}", reason, advice)
        if table.colocate is not None:
            yield from _colocation(owner, f"{path}.colocate", table, tables)


def _colocation(owner: Authored, path: str, table: Table, tables: dict[str, Table]) -> Iterator[Problem]:
    target = tables.get(table.colocate or "")
    if target is None:
        yield owner.problem(path, f"there is no table {table.colocate} in this Sharding", suggest(table.colocate or "", tables))
    elif target.method is None:
        what = "a reference table" if target.reference else "itself colocated"
        yield owner.problem(path, f"table {table.colocate} is {what}", "name the table with the method")


def _placement_problems(table: Table) -> Iterable[tuple[str, str, str]]:
    if table.buckets is not None:
        return bucket_problems([(run.first, run.last) for run in table.buckets])
    if table.ranges is not None:
        return range_problems([(span.from_, span.to) for span in table.ranges], table.key_type)
    if table.lists is not None:
        return list_problems([part.values for part in table.lists])
    return ()


def compile_sharding(owner: Authored, world: World) -> Iterable[Compiled]:
    spec = owner.spec
    database = world.get("Database", spec.database)
    shards = [shard.name for shard in database.spec.shards] if database else []
    result = message("midstream.sql.v1.Sharding")(
        name=owner.name, database=spec.database, home=spec.home or shards[0], gather_bytes=spec.gather_bytes
    )
    for table in spec.tables:
        _add_table(result.tables.add(name=table.name, key=table.key or ""), table, shards)
    yield Compiled(type_url("midstream.sql.v1.Sharding"), owner.name, result, owner)


def _add_table(target: Message, table: Table, shards: list[str]) -> None:
    if table.key_type is not None:
        target.key_type = enum_values("midstream.sql.v1.KeyType")[table.key_type.upper()]
    if table.reference:
        target.reference.SetInParent()
    elif table.colocate is not None:
        target.colocate.table = table.colocate
    elif table.method == "hash":
        runs = [(run.first, run.last, run.shard) for run in table.buckets] if table.buckets else equal_runs(shards)
        for first, last, shard in sorted(runs):
            target.hash.runs.add(first=first, last=last, shard=shard)
    elif table.method == "range":
        for span in table.ranges or ():
            added = target.range.spans.add(shard=span.shard, to=span.to)
            if span.from_ is not None:
                setattr(added, "from", span.from_)
    else:
        target.list.otherwise = table.otherwise or ""
        for part in table.lists or ():
            target.list.values.add(values=part.values, shard=part.shard)
