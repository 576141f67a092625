"""Wait until what was applied is in force on every connected sidecar."""

import time

from mesh_core.control.client import RestClient

# A status of a few sidecars takes a few milliseconds, and a change is in force some 20 ms after it was stored.
LOOK_EVERY_S = 0.05


def in_force(status: dict) -> bool:
    """Every object on every connected sidecar is acknowledged."""
    return all(found["state"] == "ACKED" for sidecar in status["sidecars"] if sidecar["connected"] for found in sidecar["objects"])


def answered(status: dict) -> bool:
    """No connected sidecar owes an answer any more."""
    return all(
        found["state"] in ("ACKED", "NACKED", "QUARANTINED") for sidecar in status["sidecars"] if sidecar["connected"] for found in sidecar["objects"]
    )


def wait_in_force(client: RestClient, seconds: float, *, node: str = "", revision: int = 0) -> dict:
    """The status as soon as everything of `revision` or later is answered, or as it is after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = client.status(node)
        if (found["revision"] >= revision and answered(found)) or time.monotonic() >= deadline:
            return found
        time.sleep(LOOK_EVERY_S)
