"""A door before a server that can go silent: what is in it neither passes nor closes, as when a host dies or a firewall forgets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 65536


class Door:
    """A port of the loopback interface that hands on to a server's Unix socket, until it is silenced."""

    def __init__(self, server_path: str) -> None:
        self._server_path = server_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._silent: set[socket.socket] = set()
        self._lets_in = True
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def silence(self, *, new_ones_too: bool = False) -> None:
        """From now on nothing passes the connections that are open, nor, if so wished, those that come."""
        self._lets_in = not new_ones_too
        self._silent.update(self._open)

    def let_in(self) -> None:
        """Connections that come from now on are handed on; those that are silent stay so."""
        self._lets_in = True

    def close(self) -> None:
        """End all of it."""
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                if not self._lets_in:
                    continue
                server.connect(self._server_path)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._hand_on, args=(source, target), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if source in self._silent:
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def door_to(server_path: str) -> Iterator[Door]:
    """A door before the server of this Unix socket."""
    door = Door(server_path)
    try:
        yield door
    finally:
        door.close()
