"""``python -m mesh_core`` is ``midstream``."""

from mesh_core.cli import main

main()
