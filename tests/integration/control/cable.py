"""A network between a client and a server that can be cut, and counts what goes over it."""

import asyncio
from contextlib import suppress


class Cable:
    """Forwards TCP connections. While it is `cut` nothing passes and nothing is closed, as in a network that drops packets; when it is mended, what
    was connected before is not known any more."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self.to_client = self.to_server = 0  # bytes
        self.address = ""

    async def __aenter__(self) -> "Cable":
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self._forget()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._forget()
        self.to_client = self.to_server = 0
        self._whole.set()

    def _forget(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError):
            await self._whole.wait()
            there, back = await asyncio.open_connection(*self._server)
            self._writers.add(back)
            await asyncio.gather(self._pass(reader, back, up=True), self._pass(there, writer, up=False))
        self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            if up:
                self.to_server += len(data)
            else:
                self.to_client += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
