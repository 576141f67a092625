"""The first proof: all rows that can influence the statement lie on one shard, so that shard's answer is the answer.

Every occurrence of a sharded table, in whatever block, is tied to known key values, and at run time all of them fall on one shard (the
worker checks; otherwise it refuses). Reference tables are whole there. Then any SQL at all is right: the shard computes it on the same rows.
"""

from dataclasses import dataclass

from db_mesh.planner.answers import KeySource
from db_mesh.planner.facts import Facts, Instance
from db_mesh.planner.keys import KEY_TYPES, key_column


@dataclass(frozen=True)
class Pinned:
    table: str  # the rule that maps the keys to shards
    key_type: str
    keys: tuple[KeySource, ...]

    @property
    def one_key(self) -> bool:
        return len(self.keys) == 1 and not self.keys[0].array


def pin(facts: Facts) -> Pinned | None:
    """The keys that all sharded tables of a statement are tied to; None: at least one of them is not tied, or they lie by different rules."""
    sharded = facts.sharded()
    if not sharded or len({one.placed.group for one in sharded if one.placed}) != 1:
        return None
    chosen: frozenset[KeySource] = frozenset()
    common = _common(facts, sharded)
    for instance in sharded:
        candidates = facts.keys_of(instance)
        if not candidates:
            return None
        chosen |= common if common is not None else min(candidates, key=len)
    first = sharded[0]
    assert first.placed is not None
    column = key_column(first.placed, first.relation)
    keys = tuple(sorted(chosen, key=lambda source: (source.slot, source.constant or "")))
    return Pinned(first.placed.name, KEY_TYPES[column.type_oid], keys)


def _common(facts: Facts, sharded: list[Instance]) -> frozenset[KeySource] | None:
    """The smallest key set that every instance is tied to."""
    shared = [keys for keys in facts.keys_of(sharded[0]) if all(keys in facts.keys_of(other) for other in sharded[1:])]
    return min(shared, key=lambda keys: (len(keys), any(key.array for key in keys)), default=None)


def untied(facts: Facts) -> Instance | None:
    """A sharded table without known keys, for the refusal."""
    return next((one for one in facts.sharded() if not facts.keys_of(one)), None)


def common_keys(facts: Facts) -> frozenset[KeySource] | None:
    """A key set that every sharded table is tied to, so that the statement may go to exactly the shards of those keys."""
    sharded = facts.sharded()
    return _common(facts, sharded) if sharded else None
