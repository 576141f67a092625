"""A PlanRequest: the normalised statement and what stands in its slots."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.message import Message

STRING, NUMBER, PARAMETER, BITS = range(4)  # midstream.sql.v1.Slot.Kind

_WORD = re.compile(r"""'(?:[^']|'')*'|:p\d+|"((?:[^"]|"")*)"|([a-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)""")
_CALL = re.compile(r'([a-z_][\w$]*|"(?:[^"]|"")*") ?\(')


@dataclass(frozen=True)
class Slot:
    kind: int
    parameter: int
    type_oid: int  # 0: not declared


class Request:
    """`sql` is in lower case outside of quotes, with single spaces between tokens, `:pN` for values."""

    def __init__(self, body: Message) -> None:
        self.sql: str = body.sql
        self.search_path: str = body.search_path
        self.user: str = body.user
        self.slots = [Slot(slot.kind, slot.parameter, slot.type_oid) for slot in body.slots]
        self._uses = Counter(slot.parameter for slot in self.slots if slot.kind == PARAMETER)

    def slot(self, number: int) -> Slot | None:
        """Of :pN."""
        return self.slots[number - 1] if 1 <= number <= len(self.slots) else None

    def used_once(self, slot: Slot) -> bool:
        """Whether the parameter of a slot stands nowhere else, so that the server infers its type from this place alone."""
        return self._uses[slot.parameter] == 1

    @cached_property
    def words(self) -> frozenset[str]:
        """Keywords and identifiers, unquoted; strings and slots left out."""
        found = (quoted.replace('""', '"') if quoted else word for quoted, word in _WORD.findall(self.sql))
        return frozenset(word for word in found if word)

    @cached_property
    def calls(self) -> frozenset[str]:
        """What stands before an opening parenthesis: functions, among others."""
        return frozenset(name.strip('"') for name in _CALL.findall(self.sql))

    def byte_offset(self, character: int) -> int:
        """Splices count bytes, Python and sqlglot characters."""
        return len(self.sql[:character].encode())
