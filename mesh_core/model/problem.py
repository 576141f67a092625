"""What is wrong with an authored object, and where."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One complaint. `line` is 1-based, 0 where the object came from no file; `path` is like "spec.tables[1].key"."""

    file: str
    line: int
    kind: str
    name: str
    path: str
    reason: str
    advice: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        thing = f"{self.kind} {self.name}".strip()
        words = [part for part in (thing, self.path) if part]
        advice = f"; {self.advice}" if self.advice else ""
        return f"{place}{': '.join(words)}{': ' if words else ''}{self.reason}{advice}"

    def as_json(self) -> dict:
        return asdict(self)


class Invalid(Exception):
    """A set of objects that is refused as a whole. `str()` is one line per problem."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
