"""YAML text to plain values, with the line of every field.

Only what JSON can say is accepted (no tags of Python objects), a key may not occur twice, and anchors may not multiply a small text into a large
value.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mesh_core.model.problem import Problem

# A file of 10,000 tables takes about 2 MiB.
MAX_TEXT_BYTES = 16 * 1024 * 1024
# Nodes of one document, aliases counted each time they are used: what stops a "billion laughs".
MAX_NODES = 1_000_000
MAX_DEPTH = 64

# What YAML 1.2 takes for a boolean or a number. The library follows 1.1, where the country code `no` is false and 22:22 is 1342.
_PLAIN = {
    "tag:yaml.org,2002:bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+"),
    "tag:yaml.org,2002:float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
}

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Document:
    """One YAML document: its value, and the 1-based line of each path in it ("" is the document)."""

    value: Any
    file: str
    lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of a path or, where it does not exist, of the nearest thing around it."""
        while path and path not in self.lines:
            path = parent(path)
        return self.lines.get(path, 0)


def parent(path: str) -> str:
    """ "spec.tables[1].key" -> "spec.tables[1]" -> "spec.tables" -> "spec" -> "" """
    if path.endswith("]"):
        return path[: path.rindex("[")]
    return path.rpartition(".")[0]


def read(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """The non-empty documents of a text. A document that is not YAML ends the reading with a problem."""
    documents: list[Document] = []
    if len(text.encode()) > MAX_TEXT_BYTES:
        return documents, [Problem(file, 1, "", "", "", f"is larger than {MAX_TEXT_BYTES} bytes", "split it into several files")]
    try:
        for node in yaml.compose_all(text, Loader=_LOADER):
            document, problems = _document(node, file)
            if problems:
                return documents, problems
            if document.value is not None:
                documents.append(document)
    except yaml.YAMLError as error:
        return documents, [_syntax(error, file)]
    except RecursionError:
        return documents, [Problem(file, 1, "", "", "", f"is nested deeper than {MAX_DEPTH} levels", "flatten it")]
    return documents, []


def read_path(path: Path) -> tuple[list[Document], list[Problem]]:
    """The documents of a file, or of every .yaml and .yml file below a folder in the order of their names."""
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.suffix in (".yaml", ".yml") and found.is_file())
        if not files:
            return [], [Problem(str(path), 0, "", "", "", "holds no .yaml file", "name a folder that does, or a file")]
    else:
        files = [path]
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in files:
        try:
            found, wrong = read(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            found, wrong = [], [Problem(str(file), 0, "", "", "", f"cannot be read: {error}", "")]
        documents += found
        problems += wrong
    return documents, problems


def _document(node: yaml.Node, file: str) -> tuple[Document, list[Problem]]:
    build = _Build(file)
    value = build.value(node, "", 0)
    return Document(value, file, build.lines), build.problems


class _Build:
    """Turns nodes into values and remembers lines; YAML's own constructor forgets them."""

    def __init__(self, file: str):
        self.file = file
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()
        self._left = MAX_NODES

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            if not self.problems:
                self._complain(node, path, "is nested too deep or expands to too much", "write it without anchors and flatter")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "has a key that is not a word", "use plain names as keys")
                continue
            key = key_node.value
            below = f"{path}.{key}" if path else key
            if key in result:
                self._complain(key_node, below, "is given twice", "keep one of them")
                continue
            self.lines[below] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, below, depth + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        if node.tag in _PLAIN and not _PLAIN[node.tag].fullmatch(node.value):
            return node.value
        try:
            value = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._complain(node, path, f"has a value that is not plain YAML: {node.value!r}", "put it in quotes if it is text")
            return None
        # Dates and binary are text here, as their author wrote them.
        return value if isinstance(value, str | int | float | bool | None) else node.value

    def _complain(self, node: yaml.Node, path: str, reason: str, advice: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, "", "", path, reason, advice))


def _syntax(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    what = getattr(error, "problem", None) or str(error)
    return Problem(file, line, "", "", "", f"is not YAML: {what}", "check indentation and quotes here and on the line before")
