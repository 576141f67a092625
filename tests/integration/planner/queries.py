"""Random schemas' data and random queries over a small shop, for the differential test. One seed gives one run."""

import random
from dataclasses import dataclass

SCHEMA = """
create table orders (customer_id bigint not null, id bigint not null, total numeric(12, 3), qty integer, note text collate "C", placed_at timestamptz,
                     paid boolean, weight double precision, tag uuid, name varchar(20) collate "und-x-icu", primary key (customer_id, id));
create table order_lines (customer_id bigint not null, order_id bigint not null, sku text, n smallint, day date);
create table countries (code text primary key, name text);
create table settings (k text primary key, v text);
"""
CUSTOMERS = 12
NOTES = ["'a'", "'B'", "'ä'", "'z''z'", "''", "null", "'de'", "'fr'"]


@dataclass(frozen=True)
class Query:
    sql: str
    ordered: int  # so many leading columns are the sort key; -1: the whole row is (the order is total)


def rows(dice: random.Random) -> list[str]:
    """INSERTs of orders and their lines, one customer each."""
    statements = []
    for number in range(120):
        customer = dice.randrange(CUSTOMERS)
        total = dice.choice(["null", "1.50", "1.5", "-0.25", "100", str(dice.randrange(1000) / 8)])
        when = f"timestamptz '2026-01-01 00:00:00+00' + interval '{dice.randrange(40)} hours'" if dice.random() < 0.9 else "null"
        values = [customer, number, total, _or_null(dice, dice.randrange(-5, 20)), dice.choice(NOTES), when, dice.choice(["true", "false", "null"])]
        values += [_or_null(dice, f"'{dice.choice(['1.5', '-2', '1e300', 'NaN'])}'"), f"'00000000-0000-0000-0000-{dice.randrange(50):012}'"]
        values.append(_or_null(dice, f"'{dice.choice(['ähre', 'Zoo', 'apfel', 'Apfel', 'zoo', 'éclair'])}'"))
        statements.append(f"insert into orders values ({', '.join(map(str, values))})")
        for _ in range(dice.randrange(3)):
            line = [
                customer,
                dice.randrange(120),
                _or_null(dice, f"'s{dice.randrange(6)}'"),
                dice.randrange(9),
                f"'2026-02-{dice.randrange(1, 28):02}'",
            ]
            statements.append(f"insert into order_lines values ({', '.join(map(str, line))})")
    return statements


def _or_null(dice: random.Random, value: object) -> object:
    return value if dice.random() < 0.85 else "null"


COLUMNS = [
    "o.id",
    "o.customer_id",
    "o.total",
    "o.qty",
    "o.note",
    "o.placed_at",
    "o.paid",
    "o.weight",
    "o.tag",
    "o.qty * 2 + 1",
    "coalesce(o.note, '-')",
]
SORTABLE = ["o.id", "o.total", "o.qty", "o.note", "o.placed_at", "o.paid", "o.weight", "o.tag"]
GROUPS = ["o.note", "o.paid", "o.qty", "o.customer_id", "date_trunc('day', o.placed_at)", "o.total", "o.note, o.paid"]
AGGREGATES = [
    "count(*)",
    "count(o.note)",
    "sum(o.qty)",
    "sum(o.total)",
    "sum(o.id)",
    "min(o.total)",
    "max(o.placed_at)",
    "min(o.note)",
    "max(o.weight)",
]
AGGREGATES += [
    "min(o.tag::text)",
    "count(distinct o.customer_id)",
    "count(*) filter (where o.paid)",
    "avg(o.qty)",
    "sum(o.weight)",
    "bool_or(o.paid)",
]
AGGREGATES += ["count(distinct o.note)", "sum(o.qty) + 1", "string_agg(o.note, ',' order by o.id)"]
JOINS = [
    "join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id",
    "left join order_lines l on l.customer_id = o.customer_id and l.n > 3",
    "left join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id",
    "right join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id",
    "full join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id",
    "join order_lines l on l.order_id = o.id",
    "left join order_lines l on l.order_id = o.id",
    "join countries c on c.code = o.note",
    "left join countries c on c.code = o.note",
    "right join countries c on c.code = o.note",
    "cross join countries c",
]


class Generator:
    """Queries without end."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def next(self) -> Query:
        kinds = [self._rows] * 5 + [self._groups] * 4 + [self._distinct] * 2 + [self._windows, self._union, self._with, self._subquery]
        return self._dice.choice(kinds)()

    def _maybe(self, share: float) -> bool:
        return self._dice.random() < share

    def _from(self) -> str:
        return "from orders o" + (f" {self._dice.choice(JOINS)}" if self._maybe(0.35) else "") + self._where()

    def _where(self) -> str:
        parts = [self._predicate() for _ in range(self._dice.choice([0, 1, 1, 2]))]
        if self._maybe(0.3):
            parts.append(self._key())
        self._dice.shuffle(parts)
        return f" where {' and '.join(parts)}" if parts else ""

    def _key(self) -> str:
        one, two = self._dice.randrange(CUSTOMERS + 2), self._dice.randrange(CUSTOMERS)
        forms = [f"o.customer_id = {one}", f"{one} = o.customer_id", f"o.customer_id = '{one}'", f"o.customer_id in ({one}, {two})"]
        forms += [f"o.customer_id = any(array[{one}, {two}])", f"(o.customer_id = {one} or o.customer_id = {two})", f"o.customer_id = {one}.0"]
        forms += [f"not o.customer_id = {one}", f"o.customer_id = -{one}", "o.customer_id = null", f"o.customer_id = any('{{{one},{two}}}')"]
        return self._dice.choice(forms)

    def _predicate(self) -> str:
        number = self._dice.randrange(20)
        forms = [
            f"o.qty > {number}",
            f"o.id < {number * 6}",
            "o.note is null",
            "o.note is not null",
            f"o.total between -1 and {number}.5",
            "o.paid",
            "not o.paid",
        ]
        forms += [
            "o.note like 'a%'",
            "o.note in ('a', 'de', 'z''z')",
            f"o.placed_at < '2026-01-02 0{number % 10}:00:00+00'",
            f"o.qty % 3 = {number % 3}",
        ]
        forms += ["exists (select 1 from order_lines x where x.customer_id = o.customer_id and x.n > 5)", "o.note in (select code from countries)"]
        forms += ["not exists (select 1 from order_lines x where x.customer_id = o.customer_id and x.order_id = o.id)"]
        forms += [
            "exists (select 1 from order_lines x where x.order_id = o.id)",
            "o.qty > (select min(x.n) from order_lines x where x.customer_id = o.customer_id)",
        ]
        return self._dice.choice(forms)

    def _direction(self) -> str:
        return self._dice.choice(["", " desc", " nulls first", " desc nulls last"])

    def _page(self) -> str:
        limit, offset = f" limit {self._dice.randrange(1, 40)}", f" offset {self._dice.randrange(20)}"
        return self._dice.choice([limit, limit + offset, offset, offset + limit])

    def _rows(self) -> Query:
        columns = self._dice.sample(COLUMNS, self._dice.randrange(1, 5))
        form = self._dice.randrange(4)
        if form == 0:
            return Query(f"select {', '.join(columns)} {self._from()}", 0)
        if form == 1:
            return Query(f"select * from orders o{self._where()} order by o.qty{self._direction()}, o.id{self._page()}", -1)
        keys = self._dice.sample(SORTABLE, self._dice.randrange(1, 3))
        listed = ", ".join(key + self._direction() for key in keys)
        if form == 2:
            return Query(f"select {', '.join(keys + columns)} {self._from()} order by {listed}", len(keys))
        page = self._page() if self._maybe(0.7) else ""
        return Query(f"select {', '.join(columns)} from orders o{self._where()} order by {listed}, o.id{page}", -1)

    def _groups(self) -> Query:
        aggregates = ", ".join(self._dice.sample(AGGREGATES[:12] if self._maybe(0.8) else AGGREGATES, self._dice.randrange(1, 4)))
        if self._maybe(0.3):
            return Query(f"select {aggregates} {self._from()}", -1)
        group = self._dice.choice(GROUPS)
        having = " having count(*) > 2" if self._maybe(0.2) else ""
        if self._maybe(0.5):
            keys = ", ".join(str(place + 1) for place in range(group.count(", o.") + 1))
            page = self._page() if self._maybe(0.4) else ""
            return Query(f"select {group}, {aggregates} {self._from()} group by {group}{having} order by {keys}{page}", -1)
        return Query(f"select {group}, {aggregates} {self._from()} group by {group}{having}", 0)

    def _distinct(self) -> Query:
        columns = self._dice.sample(COLUMNS, self._dice.randrange(1, 3))
        if self._maybe(0.5):
            places = ", ".join(str(place + 1) for place in range(len(columns)))
            return Query(f"select distinct {', '.join(columns)} {self._from()} order by {places}{self._page()}", -1)
        return Query(f"select distinct {', '.join(columns)} {self._from()}", 0)

    def _windows(self) -> Query:
        by = self._dice.choice(["o.customer_id", "o.note", "o.customer_id, o.paid"])
        return Query(f"select o.id, o.customer_id, row_number() over (partition by {by} order by o.id) from orders o{self._where()}", 0)

    def _union(self) -> Query:
        word = self._dice.choice(["union", "union all", "except", "intersect"])
        key = f" where o.customer_id = {self._dice.randrange(CUSTOMERS)}" if self._maybe(0.6) else ""
        return Query(f"select o.id from orders o{key} {word} select l.order_id from order_lines l{key.replace('o.', 'l.')}", 0)

    def _with(self) -> Query:
        key = f" where o.customer_id = {self._dice.randrange(CUSTOMERS)}" if self._maybe(0.6) else ""
        return Query(f"with x as (select o.id, o.qty from orders o{key}) select count(*), sum(x.qty) from x", 0)

    def _subquery(self) -> Query:
        key = f" and o.customer_id = {self._dice.randrange(CUSTOMERS)}" if self._maybe(0.5) else ""
        inner = "select max(l.n) from order_lines l where l.customer_id = o.customer_id"
        return Query(f"select o.id, ({inner}) from orders o where o.paid{key} order by o.id", -1)
