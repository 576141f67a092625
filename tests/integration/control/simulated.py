"""A sidecar as the control plane sees it: the real xDS client, without a data plane."""

import asyncio
from contextlib import suppress
from typing import Self

from xds.client.ads import AdsClient


class Simulated:
    """`async with` has it connected. What it does with what it is given, its kinds say."""

    client: AdsClient

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.client.run())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
