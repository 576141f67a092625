"""Whether a key is the same in two clusters.

DUMP says what a value is, with its type and all that belongs to it; but two servers may encode one value differently (another version, other limits,
another order in a hash table). So equal dumps are equal values, and of others the content is compared.
"""

from dataclasses import dataclass
from typing import Any

from cache_mesh.migrate.servers import Cluster, Command, Failed

# The end of a dump: the version of its format, and a checksum.
FOOTER = 10


@dataclass(frozen=True, slots=True)
class Value:
    """A key at one moment. `dump`: what RESTORE takes, None where there is no key. `ends`: milliseconds since the epoch, 0: never."""

    dump: bytes | None
    ends: int

    def put(self, key: bytes) -> Command:
        """The command that makes it so."""
        if self.dump is None:
            return key, ("UNLINK", key)
        return key, ("RESTORE", key, self.ends, self.dump, "REPLACE", "ABSTTL")


ABSENT = Value(None, 0)


# What a stream's description says of its encoding, and of when somebody last looked.
_OF_NO_ACCOUNT = frozenset({b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time", b"idmp-duration"})

_CONTENT = {
    b"none": ("GET",),
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
}


async def read(cluster: Cluster, keys: list[bytes]) -> list[Value]:
    """Raises Failed."""
    answers = await _ask(cluster, [(key, command) for key in keys for command in (("DUMP", key), ("PEXPIRETIME", key))])
    return [ABSENT if dump is None else Value(dump, max(int(ends), 0)) for dump, ends in zip(answers[::2], answers[1::2], strict=True)]


def surely_differs(here: Value, there: Value) -> str:
    """What is different without looking at the content; "" where that is to be looked at, or where nothing is."""
    if (here.dump is None) != (there.dump is None):
        return "is missing" if there.dump is None else "is not at the source"
    return "ends at another time" if here.ends != there.ends else ""


def is_same(here: Value, there: Value) -> bool:
    """Surely the same; if not, it may be encoded otherwise."""
    return here.ends == there.ends and (here.dump or b"")[:-FOOTER] == (there.dump or b"")[:-FOOTER]


async def content(cluster: Cluster, key: bytes) -> Any:
    """What a key holds, in a form that does not depend on how it is encoded. Raises Failed."""
    (kind,) = await _ask(cluster, [(key, ("TYPE", key))])
    if kind == b"stream":
        (described,) = await _ask(cluster, [(key, ("XINFO", "STREAM", key, "FULL", "COUNT", 0))])
        return kind, _essence(described)
    if kind not in _CONTENT:
        return kind, (await read(cluster, [key]))[0].dump
    verb, *more = _CONTENT[kind]
    (answer,) = await _ask(cluster, [(key, (verb, key, *more))])
    if kind == b"set":
        return kind, frozenset(answer)
    if kind == b"hash":
        pairs = dict(zip(answer[::2], answer[1::2], strict=True))
        return kind, pairs, await _ends_of_fields(cluster, key, list(pairs))
    return kind, answer


async def _ends_of_fields(cluster: Cluster, key: bytes, fields: list[bytes]) -> dict[bytes, int]:
    """Where the server knows such; another one refuses the question."""
    if not fields:
        return {}
    (answer,) = await cluster.run([(key, ("HPEXPIRETIME", key, "FIELDS", len(fields), *fields))])
    if not isinstance(answer, list):
        return {}
    return {field: ends for field, ends in zip(fields, answer, strict=True) if ends >= 0}


def _essence(described: Any) -> Any:
    """A description without what is of no account: names and values in turn, nested."""
    if not isinstance(described, list):
        return described
    names = described[::2]
    if names and len(described) % 2 == 0 and _OF_NO_ACCOUNT & {name for name in names if isinstance(name, bytes)}:
        pairs = zip(names, described[1::2], strict=True)
        return [(name, _essence(value)) for name, value in pairs if name not in _OF_NO_ACCOUNT]
    return [_essence(value) for value in described]


async def _ask(cluster: Cluster, commands: list[Command]) -> list[Any]:
    answers = await cluster.run(commands)
    for (key, _), answer in zip(commands, answers, strict=True):
        if isinstance(answer, Exception):
            raise Failed(f"RedisCluster {cluster.name} does not tell {key!r}: {answer}")
    return answers
