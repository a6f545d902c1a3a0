"""Messages between a decoder and whoever uses it: one JSON object with its length before it, and raw bytes after it.

JSON and no pickle: a decoder that a hostile file has taken over must not be able to run code on the other side.
"""

from __future__ import annotations

import array
import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">I")
_LONGEST_MESSAGE = 64 * 1024
_MOST_DESCRIPTORS = 2


class ConnectionEnded(Exception):
    """The other side is gone, or speaks nonsense."""


def send_message(connection: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """Send one message, with open files where there are some."""
    body = json.dumps(message).encode()
    data = _LENGTH.pack(len(body)) + body
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sent = connection.sendmsg([data], ancillary)
    connection.sendall(data[sent:])


def receive_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One message and the files that came with it; None when the other side has closed."""
    data, ancillary, _flags, _address = connection.recvmsg(_LENGTH.size, socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize))
    if not data:
        return None
    descriptors = array.array("i")
    for _level, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content)
    data += bytes(receive_bytes(connection, _LENGTH.size - len(data)))
    return _parsed(connection, data), list(descriptors)


def receive_message(connection: socket.socket, deadline: float | None = None) -> dict[str, Any]:
    """One message; raises TimeoutError past the deadline (monotonic), ConnectionEnded."""
    return _parsed(connection, bytes(receive_bytes(connection, _LENGTH.size, deadline)), deadline)


def receive_bytes(connection: socket.socket, count: int, deadline: float | None = None) -> bytearray:
    """Exactly so many bytes; raises TimeoutError, ConnectionEnded."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        if deadline is not None:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv_into(view)
        if not received:
            raise ConnectionEnded
        view = view[received:]
    return data


def _parsed(connection: socket.socket, length: bytes, deadline: float | None = None) -> dict[str, Any]:
    (size,) = _LENGTH.unpack(length)
    if size > _LONGEST_MESSAGE:
        raise ConnectionEnded
    try:
        message = json.loads(bytes(receive_bytes(connection, size, deadline)))
    except ValueError as error:
        raise ConnectionEnded from error
    if not isinstance(message, dict):
        raise ConnectionEnded
    return message
