"""Real clients' own test suites, run directly on PostgreSQL and through a sidecar in transaction mode.

    python -m tests.conformance.postgres [SUITE ...]      # make conformance-postgres

A proxy's best oracle is its absence: what passes on the server itself has to pass through the mesh. Each suite is one module of
`suites`: where its tests come from, what its virtual environment needs, how it is told where the server is. `stage` has the server and
the sidecar, `run` the two runs, `compare` the verdict, `expected.toml` the differences that are accepted, each with its reason.
"""
