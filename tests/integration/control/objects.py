"""Objects for tests that are about the control plane itself: relays, which need no server and no protocol."""

from mesh_core.lab import ports


def address() -> str:
    """A free one on this machine."""
    return f"127.0.0.1:{ports.free()}"


def relay(name: str, listen: str, endpoint: str = "127.0.0.1:9") -> str:
    """A service and its listener, nine lines; the listener's spec is the last one."""
    return f"""\
apiVersion: midstream/v1
kind: TcpService
metadata: {{name: {name}}}
spec: {{endpoint: "{endpoint}"}}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: {name}}}
spec: {{address: "{listen}", protocol: tcp, backend: {name}}}
"""


# Two relays and two rules. Nothing listens: no sidecar follows the control planes these are applied to.
SET = "---\n".join(
    (
        relay("one", "127.0.0.1:5432"),
        relay("two", "127.0.0.1:6379"),
        """\
apiVersion: midstream/v1
kind: RateLimit
metadata: {name: limit}
spec:
  listeners: [one]
  limit: {requests: 20, per: 1s}
---
apiVersion: midstream/v1
kind: Fault
metadata: {name: slow}
spec: {listeners: [two], percent: 5, delay: 50ms}
""",
    )
)
OBJECTS = SET.count("kind:")
