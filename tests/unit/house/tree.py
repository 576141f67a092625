"""The repository as data: crates with their manifests, Python modules with their imports, functions with their lengths."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
PACKAGES = ("mesh_core", "db_mesh", "msg_mesh", "cache_mesh", "xds")


class Function(NamedTuple):
    name: str
    lines: int


@functools.cache
def files(suffix: str) -> list[Path]:
    """The files of the repository with that suffix, those included that are not yet committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for path in (ROOT / line for line in listed.stdout.splitlines()) if path.exists()]


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def crates() -> dict[str, Path]:
    """The workspace's crates by folder name; the fuzz targets are a workspace of their own."""
    return {manifest.parent.name: manifest.parent for manifest in sorted(ROOT.glob("dataplane/*/Cargo.toml")) if manifest.parent.name != "fuzz"}


def manifest(crate: str) -> dict:
    return tomllib.loads((crates()[crate] / "Cargo.toml").read_text())


def dependencies(crate: str) -> set[str]:
    """What a crate is built from, through all other crates of the workspace; not what its tests use."""
    found: set[str] = set()
    waiting = [crate]
    while waiting:
        direct = set(manifest(waiting.pop()).get("dependencies", {}))
        waiting += [name for name in direct - found if name in crates()]
        found |= direct
    return found


def sources(crate: str) -> Iterator[tuple[Path, str]]:
    """The Rust files of a crate, without comments and without their test modules."""
    for path in sorted((crates()[crate] / "src").rglob("*.rs")):
        if path.name != "tests.rs" and "tests" not in path.relative_to(crates()[crate]).parts:
            text = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
            yield path, re.sub(r"//[^\n]*", "", text)


@functools.cache
def modules() -> dict[str, Path]:
    """The modules of our packages by dotted name."""
    found = {}
    for path in files(".py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] in PACKAGES:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str) -> set[str]:
    """The modules of ours that one imports while it is being imported itself: at its top level, not for types only."""
    tree = ast.parse(modules()[module].read_text())
    here = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = here.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else base for name in names}
    return {name for name in found if name in modules() and name != module}


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for inner in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _top_level(getattr(node, inner, []))


def python_functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, (node.end_lineno or node.lineno) - node.lineno + 1)


def rust_functions(path: Path) -> Iterator[Function]:
    """By rustfmt's layout: a function ends at the first closing brace of its own indentation."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        opened = re.match(r"( *)(?:pub(?:\([a-z]+\))? )?(?:const )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)", line)
        if opened and not line.rstrip().endswith((";", "}")):
            end = next((at for at in range(start + 1, len(lines)) if lines[at] == opened[1] + "}"), start)
            yield Function(opened[2], end - start + 1)
