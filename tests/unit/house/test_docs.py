"""What the documentation shows is what the code takes and says."""

import re
from pathlib import Path

import pytest

from mesh_core.cli import families
from mesh_core.control.config import load
from tests.unit.house import tree

DOCS = tree.ROOT / "docs"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["objects.md", "kafka.md"])
def test_the_examples_of_a_page_are_one_good_configuration(tmp_path: Path, page: str) -> None:
    for number, block in enumerate(blocks(DOCS / page, "yaml")):
        (tmp_path / f"{number:02}.yaml").write_text(block)
    assert load(tmp_path, families().kinds).held()


def test_every_kind_is_documented() -> None:
    shown = set(re.findall(r"^kind: (\w+)$", (DOCS / "objects.md").read_text(), re.MULTILINE))
    missing = families().kinds.kinds.keys() - shown
    assert not missing, f"docs/objects.md shows no {missing}"


def test_sentences_of_denials_are_those_of_the_filters() -> None:
    """Each sentence's fixed words stand in the filters' sources: what lies between the values of one sentence."""
    sources = "".join(text for _, text in tree.sources("filters"))
    for sentence in "".join(blocks(DOCS / "errors.md", "text")).splitlines():
        fixed = sentence.rpartition("; ")[2]
        assert fixed in sources, f"no filter says {fixed!r}; docs/errors.md is out of date"
