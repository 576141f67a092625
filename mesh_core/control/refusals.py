"""What was refused, as the audit log has it."""

import time

import structlog

from xds.store.base import RefusedChange, Store, StoreFailed

log = structlog.get_logger("midstream.control")


async def record_refusal(store: Store, revision: int, action: str, author: str, reason: str) -> None:
    """A store that fails says so in our own log."""
    try:
        await store.refuse(RefusedChange(time.time(), author, action, reason, revision))
    except StoreFailed as error:
        log.error("a refusal is not in the audit log", action=action, author=author, refused=reason, reason=str(error))
