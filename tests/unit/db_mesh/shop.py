"""A small shop's schema and rules, for the planner's tests: what introspection would find."""

from db_mesh.planner.request import BITS, NUMBER, PARAMETER, STRING, Request
from db_mesh.planner.rules import Rules
from db_mesh.schema import Column, Function, Relation, Schema
from xds.messages import message

_KINDS = {"int": (NUMBER, 23), "big": (NUMBER, 20), "dec": (NUMBER, 1700), "str": (STRING, 0), "bits": (BITS, 1560)}


def _relation(schema: str, name: str, *columns: Column, kind: str = "r", **more) -> tuple[tuple[str, str], Relation]:
    return (schema, name), Relation(schema, name, kind, {one.name: one for one in columns}, **more)


def _bigint(name: str, default: str = "") -> Column:
    return Column(name, 20, "bigint", default=default)


def _text(name: str, *, byte_ordered: bool = False, deterministic: bool = True) -> Column:
    return Column(name, 25, "text", byte_ordered=byte_ordered, deterministic=deterministic)


SCHEMA = Schema(
    dict(
        [
            _relation(
                "public",
                "orders",
                _bigint("id"),
                _bigint("customer_id"),
                Column("total", 1700, "numeric"),
                Column("qty", 23, "integer"),
                _text("note", byte_ordered=True),
                _text("name"),
                Column("placed_at", 1184, "timestamp with time zone"),
                Column("weight", 701, "double precision"),
                Column("paid", 16, "boolean"),
                unique=(frozenset({"customer_id", "id"}),),
            ),
            _relation(
                "public", "order_lines", _bigint("customer_id"), _bigint("order_id"), _text("sku", byte_ordered=True), Column("n", 23, "integer")
            ),
            _relation(
                "public", "users", Column("email", 1043, "character varying(20)", 24), Column("age", 23, "integer"), unique=(frozenset({"age"}),)
            ),
            _relation("public", "devices", Column("id", 2950, "uuid"), _text("label")),
            _relation("public", "codes", Column("code", 1042, "character(3)", 7), _text("label")),
            _relation("public", "folded", _text("name", deterministic=False)),
            _relation("public", "tickets", _bigint("id", "nextval('tickets_id_seq'::regclass)"), _bigint("customer_id"), _text("title")),
            _relation("sales", "leads", _bigint("id"), _bigint("owner")),
            _relation("public", "countries", _text("code"), _text("name")),
            _relation("public", "settings", _text("k"), _text("v")),
            _relation("other", "orders", _bigint("id")),
            _relation("public", "big_orders", _bigint("id"), kind="v", definition="select * from orders where total > 5"),
            _relation("public", "bigger_orders", _bigint("id"), kind="v", definition="select * from big_orders"),
            _relation("public", "plain_view", _text("k"), kind="v", definition="select k from settings"),
            _relation("public", "orders_2026", _bigint("id"), parents=("public.orders",)),
        ]
    ),
    functions=(
        Function("public", "order_count", False, "select count(*) from orders"),
        Function("public", "dynamic", True, "begin execute 'select 1'; end"),
        Function("public", "twice", False, "select $1 * 2"),
    ),
    aggregates=frozenset({"count", "sum", "min", "max", "avg", "bool_and", "string_agg", "array_agg", "json_agg", "regr_slope", "my_agg"}),
    volatile=frozenset({"nextval", "setval", "random", "clock_timestamp", "pg_notify", "set_config", "pg_sleep"}),
)


def sharding():
    result = message("midstream.sql.v1.Sharding")(name="shop", database="shop", home="s0", gather_bytes=1 << 20)
    hashed = {
        "orders": "customer_id",
        "users": "email",
        "devices": "id",
        "codes": "code",
        "folded": "name",
        "tickets": "customer_id",
        "sales.leads": "owner",
    }
    for name, key in hashed.items():
        result.tables.add(name=name, key=key).hash.SetInParent()
    result.tables.add(name="order_lines", key="customer_id").colocate.table = "orders"
    result.tables.add(name="countries").reference.SetInParent()
    return result


RULES = Rules(sharding(), 2)


def request(sql: str, slots: str = "", search_path: str = "") -> Request:
    """`slots` is what stands in :p1, :p2, ...: int, big, dec, str, bits, or $n, $n:oid for parameters; missing ones are int."""
    body = message("midstream.sql.v1.PlanRequest")(sql=sql, database="shop", search_path=search_path, user="app")
    words = slots.split()
    for number in range(_count(sql)):
        word = words[number] if number < len(words) else "int"
        if word.startswith("$"):
            parameter, _, oid = word[1:].partition(":")
            body.slots.add(kind=PARAMETER, parameter=int(parameter), type_oid=int(oid or 0))
        else:
            kind, oid_of_kind = _KINDS[word]
            body.slots.add(kind=kind, type_oid=oid_of_kind)
    return Request(body)


def _count(sql: str) -> int:
    number = 0
    while f":p{number + 1}" in sql:
        number += 1
    return number
