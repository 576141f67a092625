"""redis-py's own test suite, run directly on one server and through a sidecar before a cluster of six.

    python -m tests.conformance.redis [SUITE ...]      # make conformance-redis

What passes on the server itself has to pass through the mesh, in RESP2 and in RESP3: clients see one server, whatever is behind it.
"""
