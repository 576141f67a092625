"""What every family of the mesh shares: the config model, the compiler of resources, the sidecar's brain, the command line.

Imports none of ``db_mesh``, ``msg_mesh``, ``cache_mesh``: the families register with :mod:`mesh_core.registry`.
"""

__version__ = "0.1.0"
