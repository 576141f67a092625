"""What every family of the mesh shares: the config model, the compiler of resources, the sidecar's brain, the command line.

Imports none of ``db_mesh``, ``msg_mesh``, ``cache_mesh``: the families register with :mod:`mesh_core.registry`.
"""

import sys

__version__ = "0.1.0"

# structlog and typer draw with rich where they find it: 80 modules and 4 MiB, which a sidecar never uses.
if sys.argv[1:2] == ["sidecar"]:
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
