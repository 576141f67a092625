"""Places in the normalised text, for splices. Tokens give them; the tree does not know where it came from."""

import re
from dataclasses import dataclass

from sqlglot.dialects.dialect import Dialect
from sqlglot.tokens import TokenType

from db_mesh.planner.answers import Refused
from db_mesh.planner.request import Request

_AMOUNT = r"(?P<{0}>:p\d+|\d+|all|null)"
_LIMIT = rf" limit {_AMOUNT.format('limit')}"
_OFFSET = rf" offset {_AMOUNT.format('offset')}(?: rows?)?"
_TAILS = [re.compile(pattern + r"$") for pattern in (_LIMIT + _OFFSET, _OFFSET + _LIMIT, _LIMIT, _OFFSET)]
_FETCH = re.compile(r" fetch (?:first|next)(?: (?P<limit>\d+))? rows? only$")


@dataclass(frozen=True)
class Tail:
    """LIMIT and OFFSET at the end of a statement; empty: absent."""

    start: int  # characters
    end: int
    limit: str = ""
    offset: str = ""


def tail(request: Request) -> Tail | None:
    """The LIMIT and OFFSET clauses that end the statement."""
    for pattern in _TAILS:
        found = pattern.search(request.sql)
        if found:
            parts = found.groupdict()
            return Tail(found.start(), found.end(), _amount(parts.get("limit")), _amount(parts.get("offset")))
    found = _FETCH.search(request.sql)
    return Tail(found.start(), found.end(), found["limit"] or "1") if found else None


def _amount(text: str | None) -> str:
    return "" if text in (None, "all", "null") else str(text)


def end_of_select_list(request: Request) -> int:
    """The character at which a column can be added to the outermost select list: before its FROM."""
    depth, last = 0, None
    for token in Dialect.get_or_raise("postgres").tokenize(request.sql):
        if token.token_type == TokenType.L_PAREN:
            depth += 1
        elif token.token_type == TokenType.R_PAREN:
            depth -= 1
        elif token.token_type == TokenType.FROM and depth == 0 and (last is None or last.token_type != TokenType.DISTINCT):
            return token.start
        last = token
    raise Refused("the planner does not find the end of the select list", "write the statement as one SELECT without parentheses around it")


def quoted(name: str) -> str:
    """An identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'
