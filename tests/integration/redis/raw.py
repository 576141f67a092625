"""A connection that shows replies as they are on the wire: no client library reshapes them."""

import socket
from collections.abc import Iterable, Sequence
from typing import Self


class Raw:
    """One connection; `ask` gives the bytes of one reply."""

    def __init__(self, port: int, resp: int = 2) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rwb")
        if resp == 3:
            self.ask("HELLO", "3")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *words: str | bytes) -> None:
        self.send_all([words])

    def send_all(self, commands: Iterable[Sequence[str | bytes]]) -> None:
        """Several commands at once."""
        for words in commands:
            parts = [word.encode() if isinstance(word, str) else word for word in words]
            self._file.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        self._file.flush()

    def ask(self, *words: str | bytes) -> bytes:
        self.send(*words)
        return self.read()

    def read(self) -> bytes:
        """The next reply, whole."""
        return b"".join(self._pieces())

    def elements(self) -> list[bytes]:
        """The next reply; of an array, a set or a map its elements, of anything else itself."""
        head, *rest = self._pieces()
        return rest if head[:1] in b"*~%" and rest else [head, *rest]

    def _pieces(self) -> list[bytes]:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return [line + self._file.read(int(rest) + 2)]
        if kind in b"*~%>" and rest != b"-1":
            return [line, *(self.read() for _ in range(int(rest) * (2 if kind == b"%" else 1)))]
        return [line]
