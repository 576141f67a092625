"""RedisMigration: what is wrong is said, what sidecars tell is understood, and what is the same is seen to be."""

import json
from pathlib import Path

import pytest

from cache_mesh.migrate.memory import Memory
from cache_mesh.migrate.sidecars import sidecars, witness
from cache_mesh.migrate.values import ABSENT, Value, _essence, is_same, surely_differs
from cache_mesh.migrate.walk import Result, _pattern
from tests.unit.mesh_core.shop import SHOP, complaints

MIGRATIONS = """
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {name: next}
spec: {nodes: ["127.0.0.1:7201"]}
---
apiVersion: midstream/v1
kind: RedisCluster
metadata: {name: last}
spec: {nodes: ["127.0.0.1:7301"]}
---
apiVersion: midstream/v1
kind: RedisMigration
metadata: {name: one}
spec: {from: cache, to: next, prefixes: ["a:", "b:"], stage: dual-write, epoch: 1}
"""


def test_a_good_one_is_taken() -> None:
    assert complaints(SHOP + MIGRATIONS) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from: cache", "from: cash", "RedisMigration one: spec.from: there is no RedisCluster cash; did you mean cache?"),
        ("to: next", "to: nest", "RedisMigration one: spec.to: there is no RedisCluster nest; did you mean next?"),
        ("to: next", "to: cache", "RedisMigration one: spec.to: is where the keys are"),
        ('"b:"', '"a:b"', "RedisMigration one: spec.prefixes[1]: 'a:b' begins with another one"),
        ("dual-write", "halfway", "RedisMigration one: spec.stage"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    assert old in MIGRATIONS
    found = complaints(SHOP + MIGRATIONS.replace(old, new))
    assert any(said in complaint for complaint in found), found


def test_a_cluster_has_one_migration_at_a_time() -> None:
    second = MIGRATIONS[MIGRATIONS.rindex("---") :].replace("name: one", "name: two").replace("from: cache, to: next", "from: next, to: last")
    found = complaints(SHOP + MIGRATIONS + second)
    assert any("RedisMigration two: spec.from: RedisCluster next is in RedisMigration one" in complaint for complaint in found), found


def series(what: str, worker: int, more: str = "") -> str:
    return f'midstream_redis_migration_{what}{{family="redis",migration="m",worker="{worker}"{more}}}'


def told(instance: str, epochs: list[int], **numbers: int) -> dict:
    found = {series("epoch", worker): float(epoch) for worker, epoch in enumerate(epochs)}
    found |= {series(what, 1): float(number) for what, number in numbers.items()}
    found[series("dirty", 0)] = 1.0
    found[series("failed_total", 0, ',at="read"')] = 2.0
    found[series("epoch", 0).replace('"m"', '"other"')] = 9.0
    return {"instance": instance, "workers": 2, "series": found}


def test_what_sidecars_tell_is_added_up() -> None:
    refused = {"kind": "RedisMigration", "name": "m", "state": "NACKED", "reason": "no"}
    status = {
        "sidecars": [
            {"node": "a", "connected": True, "objects": [], "report": told("x", [3, 3], dirty=2, lost_total=4)},
            {"node": "b", "connected": True, "objects": [refused], "report": told("y", [3])},
            {"node": "c", "connected": True, "objects": []},
        ]
    }
    a, b, c, d = sidecars(status, "m", {"a", "d"})
    assert (a.is_at(3), a.is_at(2), a.dirty, a.lost, a.failed, a.is_drained) == (True, False, 3, 4, 2, False)
    assert (b.is_at(3), b.refusal) == (False, "no"), "a worker has not said anything"
    assert (c.is_at(0), c.workers) == (False, 0)
    assert (d.node, d.connected) == ("d", False), "known before, and not to this control plane"
    assert witness([a, b, c, d]) == {"a": ["x", 4], "b": ["y", 0], "c": ["", 0]}


def test_the_end_of_a_dump_is_not_the_value() -> None:
    old, new = Value(b"value" + b"\x0b\x00checksum", 5), Value(b"value" + b"\x0c\x00muskcehc", 5)
    assert is_same(old, new)
    assert not is_same(old, Value(new.dump, 6))
    assert not is_same(old, ABSENT)
    assert is_same(ABSENT, ABSENT)
    assert (surely_differs(old, ABSENT), surely_differs(ABSENT, old)) == ("is missing", "is not at the source")
    assert (surely_differs(old, Value(b"x", 6)), surely_differs(old, Value(b"x", 5))) == ("ends at another time", "")


def test_a_stream_is_what_it_holds() -> None:
    def described(nodes: int, seen: int, pending: int) -> list:
        consumer = [b"name", b"c", b"seen-time", seen, b"active-time", seen, b"pel", [[b"1-1", pending, 1]]]
        return [
            b"length",
            1,
            b"radix-tree-nodes",
            nodes,
            b"entries",
            [[b"1-1", [b"n", b"1"]]],
            b"groups",
            [[b"name", b"g", b"consumers", [consumer]]],
        ]

    assert _essence(described(2, 5, 7)) == _essence(described(3, 6, 7))
    assert _essence(described(2, 5, 7)) != _essence(described(2, 5, 8))


def test_prefixes_are_no_patterns() -> None:
    assert _pattern(b"a*[b]?\\:") == rb"a\*\[b\]\?\\:*"


def test_a_clean_walk_put_nothing() -> None:
    result = Result(seen=3)
    assert result.clean
    result.differs(b"\xff", "is missing")
    assert (result.clean, result.differences) == (False, ["\\xff is missing"])
    assert not Result(copied=1).clean


def test_what_is_kept_belongs_to_one_migration(tmp_path: Path) -> None:
    memory = Memory.load(tmp_path, "m", ["a", "b", []])
    memory.walk, memory.layout, memory.nodes = {"source": 7}, [[0, 16383, "x"]], ["n"]
    memory.save()
    assert Memory.load(tmp_path, "m", ["a", "b", []]) == memory
    assert Memory.load(tmp_path, "m", ["a", "c", []]).walk == {}
    (tmp_path / "migrate-m.json").write_text(json.dumps("broken"))
    assert Memory.load(tmp_path, "m", ["a", "b", []]).walk == {}
