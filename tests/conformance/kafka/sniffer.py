"""A relay between clients and the sidecar that reads along: what must not reach a client is looked for in every byte that does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping

from ..suite import HOST

CHUNK = 256 * 1024


class Sniffer:
    """Listens on the keys of `ports` and connects to their values; `forbidden` are the texts to find."""

    def __init__(self, ports: Mapping[int, int], forbidden: Iterable[bytes]) -> None:
        self._ports = ports
        self._forbidden = tuple(forbidden)
        self._overlap = max(map(len, self._forbidden), default=1) - 1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.scene = ""
        self.seen_bytes = 0
        self.found: list[str] = []

    def __enter__(self) -> Sniffer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self) -> None:
        for here, there in self._ports.items():
            await asyncio.start_server(lambda reader, writer, there=there: self._serve(reader, writer, there), HOST, here)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter, port: int) -> None:
        try:
            server, to_server = await asyncio.open_connection(HOST, port)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(self._pipe(client, to_server, port, reads=False), self._pipe(server, to_client, port, reads=True))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, port: int, *, reads: bool) -> None:
        before = b""
        try:
            while chunk := await source.read(CHUNK):
                if reads:
                    before = self._look(before + chunk, len(chunk), port)
                sink.write(chunk)
                await sink.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            sink.close()

    def _look(self, seen: bytes, new: int, port: int) -> bytes:
        """Returns what the next chunk may complete."""
        self.seen_bytes += new
        for text in self._forbidden:
            at = seen.find(text)
            if at >= 0:
                around = seen[max(0, at - 40) : at + len(text) + 40]
                self.found.append(f"{self.scene}: {text!r} came from port {port} in {around!r}")
        return seen[-self._overlap :] if self._overlap else b""
