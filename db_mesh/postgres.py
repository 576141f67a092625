"""Reads a Schema from a PostgreSQL server (12 or later), with plain catalog queries."""

from typing import Any, Protocol

from db_mesh.schema import Column, Function, Relation, Schema

_OWN = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"

RELATIONS = f"""
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) else '' end as definition,
       array(select pn.nspname || '.' || p.relname from pg_inherits i join pg_class p on p.oid = i.inhparent
             join pg_namespace pn on pn.oid = p.relnamespace where i.inhrelid = c.oid) as parents
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and {_OWN}
"""

COLUMNS = f"""
select a.attrelid::bigint as oid, a.attname as name, a.atttypid::bigint as type_oid, format_type(a.atttypid, a.atttypmod) as type_name,
       a.atttypmod as modifier, coalesce(pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text as default_text,
       l.collname as collation, l.collprovider::text as provider, l.collcollate as locale,
       coalesce(to_jsonb(l) ->> 'collisdeterministic', 'true') = 'true' as deterministic
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_collation l on l.oid = a.attcollation
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and {_OWN}
order by a.attrelid, a.attnum
"""

UNIQUE = """
select i.indrelid::bigint as oid, i.indisprimary as is_primary,
       array(select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey)) as columns
from pg_index i where i.indisunique
"""

FUNCTIONS = f"""
select n.nspname as schema, p.proname as name, p.provolatile = 'v' as volatile,
       case when p.prokind in ('f', 'p') then pg_get_functiondef(p.oid) else p.prosrc end as body
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where {_OWN} and not exists (select 1 from pg_depend d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')
"""

VOLATILE = """
select distinct p.proname::text as name from pg_proc p where p.provolatile = 'v' and p.prokind = 'f'
and (p.pronamespace = 'pg_catalog'::regnamespace
     or exists (select 1 from pg_depend d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'))
"""

AGGREGATES = "select distinct p.proname::text as name from pg_proc p where p.prokind = 'a'"

DATABASE = """
select d.datcollate as locale, coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') as provider, current_setting('search_path') as search_path
from pg_database d where d.datname = current_database()
"""

# libc's own C is byte order; its C.UTF-8 is so only in new versions. PostgreSQL's builtin provider orders by code point, which is byte order.
_BYTE_LOCALES = {"C", "POSIX"}


class Connection(Protocol):
    async def fetch(self, query: str) -> list[Any]: ...


async def introspect(connection: Connection) -> Schema:
    """The schema as the connection's user sees it."""
    database = (await connection.fetch(DATABASE))[0]
    default_order = _byte_ordered(database["provider"], database["locale"])
    columns: dict[int, dict[str, Column]] = {}
    for row in await connection.fetch(COLUMNS):
        columns.setdefault(row["oid"], {})[row["name"]] = _column(row, default_order)
    unique: dict[int, list[frozenset[str]]] = {}
    primary: dict[int, tuple[str, ...]] = {}
    for row in await connection.fetch(UNIQUE):
        unique.setdefault(row["oid"], []).append(frozenset(row["columns"]))
        if row["is_primary"]:
            primary[row["oid"]] = tuple(row["columns"])
    relations = {}
    for row in await connection.fetch(RELATIONS):
        oid = row["oid"]
        relations[row["schema"], row["name"]] = Relation(
            row["schema"],
            row["name"],
            row["kind"],
            columns.get(oid, {}),
            tuple(unique.get(oid, ())),
            primary.get(oid, ()),
            row["definition"],
            tuple(row["parents"]),
        )
    functions = tuple(Function(row["schema"], row["name"], row["volatile"], row["body"]) for row in await connection.fetch(FUNCTIONS))
    aggregates = frozenset(row["name"] for row in await connection.fetch(AGGREGATES))
    volatile = frozenset(row["name"] for row in await connection.fetch(VOLATILE))
    path = tuple(part.strip().strip('"') for part in database["search_path"].split(","))
    return Schema(relations, functions, aggregates, volatile, path)


def _column(row: Any, default_order: bool) -> Column:
    collation = row["collation"]
    byte_ordered = collation is not None and (default_order if collation == "default" else _byte_ordered(row["provider"], row["locale"]))
    return Column(row["name"], row["type_oid"], row["type_name"], row["modifier"], row["default_text"], byte_ordered, bool(row["deterministic"]))


def _byte_ordered(provider: str, locale: str | None) -> bool:
    return provider == "b" or (provider == "c" and locale in _BYTE_LOCALES)
