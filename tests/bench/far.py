"""`python -m tests.bench.far LISTEN_PORT HOST PORT DELAY_MS`: a TCP relay whose bytes take a while each way, as between two zones of a region."""

from __future__ import annotations

import asyncio
import sys

READ_BYTES = 65536


async def serve(listen: int, host: str, port: int, delay_s: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(_carry(reader, back, delay_s), _carry(there, writer, delay_s))

    server = await asyncio.start_server(relay, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(READ_BYTES):
        loop.call_later(delay_s, writer.write, data)
    loop.call_later(delay_s, writer.close)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) / 1000))
