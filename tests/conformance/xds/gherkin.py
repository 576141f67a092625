"""Reads feature files: as much of Gherkin as ours use. Tags, scenarios, outlines with examples, steps; comments begin with `#`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_STEP = re.compile(r"(Given|When|Then|And|But) (.*)")


@dataclass(frozen=True)
class Step:
    text: str
    where: str  # file:line


@dataclass(frozen=True)
class Scenario:
    name: str
    tags: frozenset[str]
    steps: tuple[Step, ...] = ()
    examples: tuple[dict[str, str], ...] = ()

    def played(self) -> Iterator[Scenario]:
        """Itself, or one scenario for each of its examples."""
        if not self.examples:
            yield self
        for row in self.examples:
            steps = tuple(replace(step, text=_filled(step.text, row)) for step in self.steps)
            yield replace(self, name=f"{self.name} ({', '.join(row.values())})", steps=steps, examples=())


def read(path: Path) -> list[Scenario]:
    """All scenarios of a file. Raises ValueError with file and line."""
    scenarios: list[Scenario] = []
    tags: set[str] = set()
    header: list[str] | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.strip()
        where = f"{path.name}:{number}"
        if not words or words.startswith(("#", "Feature:", "Examples:")) or (not scenarios and not tags and not words.startswith(("@", "Scenario"))):
            header = None if words.startswith("Examples:") else header
        elif words.startswith("@"):
            tags |= {tag.removeprefix("@") for tag in words.split()}
        elif words.startswith("Scenario"):
            scenarios.append(Scenario(words.partition(":")[2].strip(), frozenset(tags)))
            tags = set()
        elif words.startswith("|"):
            cells = [cell.strip() for cell in words.strip("|").split("|")]
            if header is None:
                header = cells
            else:
                scenarios[-1] = replace(scenarios[-1], examples=(*scenarios[-1].examples, dict(zip(header, cells, strict=True))))
        elif found := _STEP.fullmatch(words):
            scenarios[-1] = replace(scenarios[-1], steps=(*scenarios[-1].steps, Step(found[2], where)))
        else:
            raise ValueError(f"{where}: neither a tag, a scenario, a step nor an example: {words}")
        if words.startswith("Scenario"):
            header = None
    return scenarios


Play = Callable[..., Awaitable[None]]


@dataclass
class Steps:
    """Sentences and what they do. A sentence's `{name}` stands for any words, handed over as a string."""

    known: list[tuple[re.Pattern[str], Play]] = field(default_factory=list)

    def __call__(self, sentence: str) -> Callable[[Play], Play]:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(sentence))

        def add(play: Play) -> Play:
            self.known.append((re.compile(pattern), play))
            return play

        return add

    async def play(self, scenario: Scenario, stage: Any) -> None:
        """Runs the steps on a stage; a failure tells file and line."""
        for step in scenario.steps:
            matches = [(play, found) for pattern, play in self.known if (found := pattern.fullmatch(step.text))]
            if len(matches) != 1:
                raise LookupError(f"{step.where}: {len(matches)} sentences for: {step.text}")
            play, found = matches[0]
            try:
                await play(stage, **found.groupdict())
            except Exception as error:
                error.add_note(f"{step.where}: {step.text}")
                raise


def _filled(text: str, row: dict[str, str]) -> str:
    for name, value in row.items():
        text = text.replace(f"<{name}>", value)
    return text
