"""Prints the requirements of pyproject.toml with all its extras, one per line: what `make lock` pins."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
print("\n".join([*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]))
