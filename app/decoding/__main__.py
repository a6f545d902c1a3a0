"""`python -m app.decoding LIMITS`: one decoder process. Its standard input is a socket: requests with open files in, answers out.

It is given no environment, no address and no path: only open files to read. It ends when the socket does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import IO, Any

from PIL import Image

from app.decoding.derived import overlay, pixels, thumbnail
from app.decoding.errors import PhotoRejected, is_file_system_away
from app.decoding.facts import inspect_photo
from app.decoding.limits import DecodingLimits, allow_processor_seconds, take_process_limits
from app.decoding.pictures import prepare_pillow
from app.decoding.wire import receive_request, send_message

Answer = tuple[dict[str, Any], Iterable[bytes]]


def main() -> None:
    """Serve until the socket is closed."""
    limits = DecodingLimits(**json.loads(sys.argv[1]))
    connection = socket.socket(fileno=os.dup(0))
    prepare_pillow()
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    take_process_limits(limits)
    # From here on the C decoders speak of hostile files; nobody wants to read that in a log.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    send_message(connection, {"ready": os.getpid()})
    while (received := receive_request(connection)) is not None:
        request, descriptors = received
        allow_processor_seconds(limits.seconds)
        message, payload = _answer(request, descriptors, limits)
        send_message(connection, message)
        for piece in payload:
            connection.sendall(piece)


def _answer(request: dict[str, Any], descriptors: list[int], limits: DecodingLimits) -> Answer:
    with ExitStack() as stack:
        files: list[IO[bytes]] = [stack.enter_context(os.fdopen(descriptor, "rb")) for descriptor in descriptors]
        for file in files:
            file.seek(0)
        try:
            return _done(request, files, limits.max_pixels)
        except PhotoRejected as rejection:
            return {"rejected": rejection.code, "reason": rejection.reason}, ()
        except MemoryError:
            return {"rejected": "decoding_memory", "reason": "Decoding the picture takes more memory than the service gives one."}, ()
        except OSError as error:
            if not is_file_system_away(error):
                raise
            return {"unread": True}, ()


def _done(request: dict[str, Any], files: list[IO[bytes]], max_pixels: int) -> Answer:
    match request["task"]:
        case "inspect":
            return {"facts": inspect_photo(files[0], max_pixels).as_json()}, ()
        case "thumbnail":
            return _whole(thumbnail(files[0], max_pixels, int(request["max_side"])))
        case "overlay":
            return _whole(overlay(files[0], files[1], max_pixels))
        case "pixels":
            width, height, rows = pixels(files[0], max_pixels, request.get("at_least"))
            return {"width": width, "height": height, "bytes": width * height * 3}, rows
        case task:
            raise ValueError(f"{task!r} is not a task of a decoder")


def _whole(data: bytes) -> Answer:
    return {"bytes": len(data)}, (data,)


if __name__ == "__main__":
    main()
