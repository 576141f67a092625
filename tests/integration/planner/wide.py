"""Random queries over the whole grammar of reads: what no merge covers and the home shard answers over gathered rows."""

from tests.integration.planner.queries import CUSTOMERS, Generator, Query

TOTAL = "o.customer_id, o.id"  # the primary key: an order over it is total
LINES = "select l.customer_id, l.order_id, l.sku, l.n, l.day from order_lines l"
AGGREGATES = [
    "avg(o.qty)",
    "avg(o.total)",
    "stddev(o.total)",
    "var_pop(o.qty)",
    "count(distinct o.note)",
    "sum(distinct o.qty)",
    "bool_and(o.paid)",
    f"string_agg(o.note, '|' order by {TOTAL})",
    f"array_agg(o.qty order by {TOTAL})",
    f"json_agg(o.note order by {TOTAL})",
    f"jsonb_object_agg(o.customer_id || '-' || o.id, o.total order by {TOTAL})",
    "percentile_cont(0.5) within group (order by o.total)",
    "mode() within group (order by o.qty, o.note)",
    "sum(o.qty) filter (where o.paid) + count(*)",
    "max(o.note || o.id)",
    "corr(o.qty, o.total) is null",
]
GROUPS = [
    "o.paid",
    "o.total",
    "o.weight",
    "o.note, o.paid",
    "o.qty % 3",
    "o.placed_at::date",
    "rollup (o.paid, o.qty)",
    "cube (o.note, o.paid)",
    "grouping sets ((o.note), (o.paid), ())",
]
WINDOWS = [
    f"row_number() over (order by {TOTAL})",
    "rank() over (partition by o.note order by o.qty nulls last)",
    f"lag(o.qty, 2) over (order by {TOTAL})",
    f"sum(o.total) over (partition by o.paid order by {TOTAL} rows between 2 preceding and current row)",
    "ntile(4) over w",
    f"first_value(o.note) over (partition by o.paid order by o.qty desc nulls last, {TOTAL})",
    "count(*) over (partition by o.note)",
    "dense_rank() over (order by o.placed_at)",
]
SCALARS = [
    "(select count(*) from order_lines l where l.order_id = o.id)",
    "(select max(x.total) from orders x where x.note = o.note)",
    "(select c.name from countries c where c.code = o.note)",
    "(select s.v from settings s where s.k = o.note)",
    "array(select l.sku from order_lines l where l.order_id = o.id order by l.sku, l.n, l.day)",
    "o.qty = any(select l.n from order_lines l)",
    "o.id in (select l.order_id from order_lines l where l.n > 4)",
    "exists (select 1 from orders x where x.id = o.id + 1 and x.paid)",
    "case when o.total > (select avg(x.total) from orders x) then 'dear' else 'cheap' end",
]
CONDITIONS = [
    "o.id in (select l.order_id from order_lines l)",
    "o.id not in (select l.order_id from order_lines l where l.order_id is not null)",
    "o.total > all (select l.n from order_lines l where l.sku = 's1')",
    "(o.qty, o.note) in (select x.qty, x.note from orders x where not x.paid)",
    "exists (select 1 from settings s where s.k = o.note)",
    "not exists (select 1 from orders x where x.note = o.note and x.id > o.id)",
    "o.total = (select max(x.total) from orders x)",
    "o.placed_at > (select min(x.placed_at) + interval '3 hours' from orders x)",
    "o.note is distinct from 'a'",
    "o.id between 10 and 90",
    "o.note in ('a', 'de', 'B')",
    "o.total is not null and o.qty <= 12",
]
SOURCES = [
    "orders o",
    "(select * from orders) o",
    "orders o join order_lines l on l.order_id = o.id",
    "orders o left join order_lines l on l.order_id = o.id and l.n > 4",
    "orders o full join order_lines l on l.order_id = o.id",
    "orders o right join order_lines l on l.sku = o.note",
    "countries c left join orders o on o.note = c.code",
    "orders o cross join lateral (select max(l.n) as top from order_lines l where l.order_id = o.id) t",
    "orders o left join lateral (select l.sku from order_lines l where l.order_id = o.id order by l.n desc, l.sku, l.day limit 1) t on true",
    "orders o join (values (1, 'a'), (2, 'de')) v(n, code) on v.code = o.note",
    "orders o join settings s on s.k = o.note",
    "settings s left join orders o on o.note = s.k and o.paid",
    "orders o, generate_series(1, 3) g(i)",
    "orders o join orders x on x.id = o.id + 1",
    "orders o natural join order_lines",
    "orders o join (select customer_id, count(*) as lines from order_lines group by 1) t using (customer_id)",
]


class Wide(Generator):
    """Queries that the shards' own answers do not add up to, among those that do."""

    def next(self) -> Query:
        kinds = [
            super().next,
            self._rows_of,
            self._groups_of,
            self._windows_of,
            self._sets,
            self._withs,
            self._recursive,
            self._distinct_on,
            self._paged,
        ]
        return self._dice.choice(kinds)()

    def _pick(self, options: list[str], most: int) -> list[str]:
        return self._dice.sample(options, self._dice.randrange(1, most + 1))

    def _conditions(self) -> str:
        parts = self._dice.sample(CONDITIONS, self._dice.choice([0, 0, 1, 1, 2]))
        if self._maybe(0.2):
            parts.append(f"o.customer_id in ({', '.join(str(self._dice.randrange(CUSTOMERS)) for _ in range(3))})")
        word = " or " if self._maybe(0.15) else " and "
        return f" where {word.join(parts)}" if parts else ""

    def _rows_of(self) -> Query:
        columns = [*self._pick(SCALARS, 2), "o.id", "o.note", "o.total"]
        return Query(f"select {', '.join(columns)} from {self._dice.choice(SOURCES)}{self._conditions()}", 0)

    def _groups_of(self) -> Query:
        group, aggregates = self._dice.choice(GROUPS), ", ".join(self._pick(AGGREGATES, 3))
        having = self._dice.choice(
            ["", " having count(*) > 3", " having avg(o.qty) > 5", " having max(o.total) > (select avg(x.total) from orders x)"]
        )
        source = self._dice.choice(["orders o", "(select * from orders) o", "orders o join settings s on s.k = o.note"])
        if self._maybe(0.2):
            return Query(f"select {aggregates} from {source}{self._conditions()}", 0)
        shown = "count(*)" if "(" in group else f"{group}, count(*)"
        return Query(f"select {shown}, {aggregates} from {source}{self._conditions()} group by {group}{having}", 0)

    def _windows_of(self) -> Query:
        columns = ", ".join(["o.customer_id", "o.id", *self._pick(WINDOWS, 2)])
        return Query(f"select {columns} from orders o{self._conditions()} window w as (order by {TOTAL}) order by 1, 2", -1)

    def _sets(self) -> Query:
        parts = [f"select o.id, o.qty from orders o{self._conditions()}", "select l.order_id, l.n from order_lines l", "values (1, 2), (3, null)"]
        words = ["union", "union all", "except", "intersect", "except all", "intersect all"]
        sql = f"({self._dice.choice(parts)}) {self._dice.choice(words)} ({self._dice.choice(parts[:2])})"
        if self._maybe(0.5):
            return Query(f"{sql} order by 1, 2 limit {self._dice.randrange(1, 60)}", -1)
        return Query(f"select count(*), sum(a), max(b) from ({sql}) t(a, b)", -1)

    def _withs(self) -> Query:
        forms = [
            f"with x as (select o.note, count(*) as n from orders o{self._conditions()} group by 1) select * from x where n > (select avg(n) from x)",
            f"with l as ({LINES} where l.n > 3), x as materialized (select * from orders) select x.id, l.sku from x join l on l.order_id = x.id",
            f"select * from (with t as (select o.id, o.total from orders o{self._conditions()}) select t.*, o.qty from t join orders o using (id)) q",
        ]
        return Query(self._dice.choice(forms), 0)

    def _recursive(self) -> Query:
        start = self._dice.randrange(40)
        sql = f"with recursive chain(id, depth) as (select o.id, 1 from orders o where o.id = {start} union all "
        sql += "select o.id, c.depth + 1 from chain c join orders o on o.id = c.id + 3 where c.depth < 20) select * from chain order by id"
        return Query(sql, -1)

    def _distinct_on(self) -> Query:
        by = self._dice.choice(["o.note", "o.paid, o.qty", "o.total"])
        return Query(f"select distinct on ({by}) {by}, o.customer_id, o.id from orders o{self._conditions()} order by {by}, {TOTAL}", -1)

    def _paged(self) -> Query:
        keys = self._dice.choice(["lower(o.name)", "o.name", 'o.name collate "und-x-icu" desc', "o.total * -1", "length(o.note) desc nulls last"])
        page = self._dice.choice(["", " limit 10", " limit 5 offset 3", " fetch first 4 rows with ties"])
        return Query(f"select o.name, o.customer_id, o.id from orders o{self._conditions()} order by {keys}, {TOTAL}{page}", -1)
