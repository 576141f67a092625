"""The control API: xDS v3, server and client.

Nothing here knows what Midstream's own resources mean; `mesh_core` compiles authored objects into resources and hands them over as bytes.
"""
