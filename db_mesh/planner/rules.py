"""The Sharding resource as the planner sees it, and which rule a name in a statement means."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import Message

from xds.messages import message


@dataclass(frozen=True)
class Placed:
    """A table with a rule."""

    name: str  # as authored
    key: str  # empty: a reference table
    key_type: str  # of midstream.sql.v1.KeyType
    group: str  # tables of one group lie together by key
    method: str  # hash, range, list, reference

    @property
    def reference(self) -> bool:
        return self.method == "reference"


class Rules:
    """Rules by table name; ``None`` instead of a Sharding: nothing is sharded."""

    def __init__(self, sharding: Message | None, shards: int) -> None:
        self.shards = shards
        tables = {table.name: table for table in sharding.tables} if sharding is not None else {}
        self.gathers = sharding is not None and sharding.gather_bytes > 0
        self.tables = {name: _placed(table, tables) for name, table in tables.items()}

    def __bool__(self) -> bool:
        return bool(self.tables)

    def find(self, schema: str, name: str, default: str) -> Placed | None:
        """The rule of a relation in `schema` (empty: not known).

        A rule written without schema means the table that the server's default search_path finds, in `default`; whatever the session's is.
        """
        return self.tables.get(f"{schema}.{name}") or (self.tables.get(name) if schema in ("", default) else None)

    def mentioned(self, words: Iterable[str]) -> str:
        """A word that is the name of a table with a rule, schema or not; empty when there is none."""
        return min({name.rpartition(".")[2] for name in self.tables}.intersection(words), default="")


def _placed(table: Message, tables: dict[str, Message]) -> Placed:
    key_types = message("midstream.sql.v1.Table").DESCRIPTOR.fields_by_name["key_type"].enum_type.values_by_number
    root, seen = table, {table.name}
    while root.WhichOneof("placement") == "colocate" and root.colocate.table in tables and root.colocate.table not in seen:
        root = tables[root.colocate.table]
        seen.add(root.name)
    key_type = key_types[table.key_type or root.key_type].name
    return Placed(table.name, table.key, key_type, root.name, root.WhichOneof("placement") or "reference")
