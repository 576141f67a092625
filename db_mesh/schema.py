"""What the planner knows of the live schema: relations, column types, collations, views, functions. Read from one server; see postgres.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    name: str
    type_oid: int
    type_name: str
    modifier: int = -1  # atttypmod
    default: str = ""  # its expression
    byte_ordered: bool = False  # its collation orders text by bytes
    deterministic: bool = True  # its collation holds only equal bytes equal

    @property
    def max_chars(self) -> int:
        """n of varchar(n); 0: no bound."""
        return self.modifier - 4 if self.type_oid == 1043 and self.modifier > 4 else 0


@dataclass(frozen=True)
class Relation:
    schema: str
    name: str
    kind: str  # pg_class.relkind: r, p, v, m, f
    columns: Mapping[str, Column] = field(default_factory=dict)  # in the order of the table
    unique: tuple[frozenset[str], ...] = ()  # columns of each unique index
    primary: tuple[str, ...] = ()  # columns of the primary key
    definition: str = ""  # of a view
    parents: tuple[str, ...] = ()  # "schema.name" of the tables it is a partition or child of


@dataclass(frozen=True)
class Function:
    """A function or procedure that is no part of the server or of an extension."""

    schema: str
    name: str
    volatile: bool
    body: str


@dataclass(frozen=True, eq=False)  # compared by identity: a key of caches
class Schema:
    relations: Mapping[tuple[str, str], Relation]
    functions: tuple[Function, ...] = ()
    aggregates: frozenset[str] = frozenset()  # names, the server's own among them
    volatile: frozenset[str] = frozenset()  # names of the server's own volatile functions
    search_path: tuple[str, ...] = ("public",)  # as the server has it by default, $user not resolved

    @property
    def own_volatile(self) -> frozenset[str]:
        """Names of volatile functions that are no part of the server: they may change anything."""
        return frozenset(function.name for function in self.functions if function.volatile)

    def path(self, search_path: str, user: str) -> tuple[str, ...]:
        """The schemas that an unqualified name is looked up in; `search_path` as the session set it, empty: the default."""
        named = [part.strip().strip('"') for part in search_path.split(",")] if search_path.strip() else list(self.search_path)
        return tuple(user if name == "$user" else name for name in named if name)

    def find(self, schema: str, name: str, path: tuple[str, ...]) -> Relation | None:
        """A relation as a statement names it; `schema` empty: the first of `path` that has it."""
        places = (schema,) if schema else path
        return next((self.relations[place, name] for place in places if (place, name) in self.relations), None)
