"""Configuration from files alone, for a sidecar without a control plane."""

from pathlib import Path

from mesh_core.compile.compiler import Configuration, compile_world
from mesh_core.model.check import world_of
from mesh_core.model.kinds import Kinds
from mesh_core.model.problem import Invalid
from mesh_core.model.source import read_path


def load(path: Path, kinds: Kinds) -> Configuration:
    """The resources of a file or of a folder of .yaml files. Raises Invalid with everything that is wrong, by file and line."""
    documents, problems = read_path(path)
    if problems:
        raise Invalid(problems)
    return compile_world(world_of(documents, kinds), kinds)
