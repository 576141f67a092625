"""TPC-H's tables (specification 3.0, section 1.4) and rows of its shape; small domains, so that every query finds some."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

SCHEMA = """
create table region (r_regionkey integer primary key, r_name char(25) not null, r_comment varchar(152));
create table nation (n_nationkey integer primary key, n_name char(25) not null, n_regionkey integer not null, n_comment varchar(152));
create table supplier (s_suppkey integer primary key, s_name char(25) not null, s_address varchar(40) not null, s_nationkey integer not null,
                       s_phone char(15) not null, s_acctbal decimal(15, 2) not null, s_comment varchar(101) not null);
create table part (p_partkey integer primary key, p_name varchar(55) not null, p_mfgr char(25) not null, p_brand char(10) not null, p_type
           varchar(25) not null,
                   p_size integer not null, p_container char(10) not null, p_retailprice decimal(15, 2) not null, p_comment varchar(23) not null);
create table partsupp (ps_partkey integer, ps_suppkey integer, ps_availqty integer not null, ps_supplycost decimal(15, 2) not null,
                       ps_comment varchar(199) not null, primary key (ps_partkey, ps_suppkey));
create table customer (c_custkey integer primary key, c_name varchar(25) not null, c_address varchar(40) not null, c_nationkey integer not null,
                       c_phone char(15) not null, c_acctbal decimal(15, 2) not null, c_mktsegment char(10) not null, c_comment varchar(117) not null);
create table orders (o_orderkey integer primary key, o_custkey integer not null, o_orderstatus char(1) not null, o_totalprice decimal(15, 2) not null,
                     o_orderdate date not null, o_orderpriority char(15) not null, o_clerk char(15) not null, o_shippriority integer not null,
                     o_comment varchar(79) not null);
create table lineitem (l_orderkey integer, l_partkey integer not null, l_suppkey integer not null, l_linenumber integer, l_quantity decimal(15, 2)
           not null,
                       l_extendedprice decimal(15, 2) not null, l_discount decimal(15, 2) not null, l_tax decimal(15, 2) not null,
                       l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null, l_commitdate date not null,
                       l_receiptdate date not null, l_shipinstruct char(25) not null, l_shipmode char(10) not null, l_comment varchar(44) not null,
                       primary key (l_orderkey, l_linenumber));
"""
# The column by whose ranges a table lies on shards; None: every shard has it all.
KEYS = {
    "region": None,
    "nation": None,
    "supplier": "s_suppkey",
    "part": "p_partkey",
    "partsupp": "ps_partkey",
    "customer": "c_custkey",
    "orders": "o_orderkey",
    "lineitem": "l_orderkey",
}
REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
NATIONS = {
    "ALGERIA": 0, "ARGENTINA": 1, "BRAZIL": 1, "CANADA": 1, "EGYPT": 4, "FRANCE": 3, "GERMANY": 3, "INDIA": 2, "JAPAN": 2, "KENYA": 0,
    "SAUDI ARABIA": 4, "UNITED KINGDOM": 3,
}  # fmt: skip
COLOURS = ["green", "forest", "almond", "antique", "blue"]
TYPES = [
    f"{a} {b} {c}"
    for a in ("STANDARD", "MEDIUM", "ECONOMY", "PROMO")
    for b in ("ANODIZED", "POLISHED", "BURNISHED")
    for c in ("STEEL", "BRASS", "TIN")
]
CONTAINERS = ["SM CASE", "SM BOX", "SM PACK", "SM PKG", "MED BAG", "MED BOX", "MED PKG", "MED PACK", "LG CASE", "LG BOX", "LG PACK", "LG PKG"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
MODES = ["MAIL", "SHIP", "AIR", "AIR REG", "TRUCK", "RAIL"]
SEGMENTS = ["BUILDING", "AUTOMOBILE", "MACHINERY"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE"]
Row = tuple[object, ...]


def tables(dice: random.Random, orders: int) -> dict[str, list[Row]]:
    """Rows by table, for so many orders (1,500,000 are scale 1)."""
    suppliers, parts, customers = max(orders // 150, 2 * len(NATIONS)), max(orders * 2 // 15, 40), max(orders // 10, 30)
    rows: dict[str, list[Row]] = {
        "region": [(number, name, "") for number, name in enumerate(REGIONS)],
        "nation": [(number, name, region, "") for number, (name, region) in enumerate(NATIONS.items())],
        "supplier": [_supplier(dice, number) for number in range(1, suppliers + 1)],
        "part": [_part(dice, number) for number in range(1, parts + 1)],
        "customer": [_customer(dice, number) for number in range(1, customers + 1)],
        "partsupp": [],
        "orders": [],
        "lineitem": [],
    }
    for part in range(1, parts + 1):
        for supplier in dice.sample(range(1, suppliers + 1), 4):
            rows["partsupp"].append((part, supplier, dice.randrange(1, 10_000), _money(dice, 100, 100_000), ""))
    for number in range(1, orders + 1):
        # A third of the customers never orders.
        customer = dice.choice([one for one in (dice.randrange(1, customers + 1) for _ in range(9)) if one % 3] or [1])
        placed = date(1992, 1, 1) + timedelta(days=dice.randrange(2400))
        lines = list(_lines(dice, number, placed, rows["partsupp"]))
        status = {frozenset("F"): "F", frozenset("O"): "O"}.get(frozenset(str(line[9]) for line in lines), "P")
        total = sum(float(str(line[5])) for line in lines)
        comment = dice.choice(["", "special packages requests", "quick"])
        rows["orders"].append((number, customer, status, f"{total:.2f}", placed, dice.choice(PRIORITIES), f"Clerk#{number % 10}", 0, comment))
        rows["lineitem"] += lines
    return rows


def _lines(dice: random.Random, order: int, placed: date, offers: list[Row]) -> Iterator[Row]:
    for line in range(1, dice.randrange(1, 8)):
        part, supplier = dice.choice(offers)[:2]
        quantity, shipped = dice.randrange(1, 51), placed + timedelta(days=dice.randrange(1, 122))
        commit, receipt = placed + timedelta(days=dice.randrange(30, 91)), shipped + timedelta(days=dice.randrange(1, 31))
        is_old = receipt <= date(1995, 6, 17)
        flag = dice.choice("RA") if is_old else "N"
        status = "F" if shipped <= date(1995, 6, 17) else "O"
        price, discount, tax = f"{quantity * dice.randrange(90_000, 110_000) / 100:.2f}", f"0.0{dice.randrange(10)}", f"0.0{dice.randrange(9)}"
        numbers = (order, part, supplier, line, quantity, price, discount, tax, flag, status)
        yield (*numbers, shipped, commit, receipt, dice.choice(INSTRUCTIONS), dice.choice(MODES), "")


def _supplier(dice: random.Random, number: int) -> Row:
    nation, comment = number % len(NATIONS), dice.choice(["", "", "Customer has Complaints"])
    return number, f"Supplier#{number:09}", f"street {number}", nation, f"{nation + 10}-{number:03}", _money(dice, -99_999, 999_999), comment


def _part(dice: random.Random, number: int) -> Row:
    name, brand = " ".join(dice.sample(COLOURS, 2)), f"Brand#{dice.randrange(1, 4)}{dice.randrange(1, 4)}"
    return (
        number,
        name,
        f"Manufacturer#{number % 5}",
        brand,
        dice.choice(TYPES),
        dice.randrange(1, 51),
        dice.choice(CONTAINERS),
        900 + number % 100,
        "",
    )


def _customer(dice: random.Random, number: int) -> Row:
    nation = dice.randrange(len(NATIONS))
    phone = f"{dice.choice([13, 31, 23, 29, 30, 18, 17, 40])}-{number:03}"
    return number, f"Customer#{number:09}", f"road {number}", nation, phone, _money(dice, -99_999, 999_999), dice.choice(SEGMENTS), ""


def _money(dice: random.Random, low: int, high: int) -> str:
    return f"{dice.randrange(low, high) / 100:.2f}"
