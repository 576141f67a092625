"""What goes to a client, byte by byte: a relay between a client and a sidecar that keeps everything it passes on."""

import contextlib
import socket
import threading


class Sniffer:
    """Listens at each of `ports` and leads to the same place of `targets`. `told` is what clients were told, connection by connection."""

    def __init__(self, ports: list[int], targets: list[int]) -> None:
        self._told: list[bytearray] = []
        self._open: list[socket.socket] = []
        self._listening = [socket.create_server(("127.0.0.1", port)) for port in ports]
        for listening, target in zip(self._listening, targets, strict=True):
            self._in_background(self._accept, listening, target)

    def told(self, what: str) -> bool:
        """Whether these bytes have come by. Both bare and in pieces of a frame: connections are looked at whole."""
        return any(what.encode() in connection for connection in self._told)

    @property
    def size(self) -> int:
        return sum(map(len, self._told))

    def close(self) -> None:
        for one in (*self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _in_background(self, run, *args: object) -> None:
        threading.Thread(target=run, args=args, daemon=True).start()

    def _accept(self, listening: socket.socket, target: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", target))
                told = bytearray()
                self._told.append(told)
                self._open += [client, server]
                self._in_background(self._pass, client, server, None)
                self._in_background(self._pass, server, client, told)

    def _pass(self, source: socket.socket, to: socket.socket, told: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if told is not None:
                    told += piece
                to.sendall(piece)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)
