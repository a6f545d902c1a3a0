"""The decoders of one program: few processes, one photo each at a time, safe to be asked from many threads."""

from __future__ import annotations

import io
import queue
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import structlog

from app.decoding.errors import PhotoRejected
from app.decoding.facts import PhotoFacts
from app.decoding.limits import DecodingLimits
from app.decoding.process import DecoderProcess

_CHANNELS = 3
_OVERLAY_BYTES_PER_PIXEL = 4
_ENCODED_OVERHEAD_BYTES = 1024 * 1024
# A fresh process now and then: whatever a decoder leaks goes with the old one.
_REQUESTS_PER_PROCESS = 500
_COPY_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RawPixels:
    """An upright sRGB photo: `data` holds height × width × 3 bytes."""

    width: int
    height: int
    data: bytearray


class DecoderPool:
    """At most `processes` decoders; each is started when it is first needed, and again after a file has killed it.

    Where the bytes of a file cannot be had, its disk being in trouble or away, every method raises StorageUnavailable.
    """

    def __init__(self, limits: DecodingLimits, processes: int = 1) -> None:
        self.limits = limits
        self._slots: queue.LifoQueue[DecoderProcess | None] = queue.LifoQueue()
        self._is_closed = False
        for _ in range(processes):
            self._slots.put(None)

    def inspect(self, photo: IO[bytes]) -> PhotoFacts:
        """The photo's facts, after it was decoded once; raises PhotoRejected."""
        answer, _ = self._ask({"task": "inspect"}, [photo], 0)
        try:
            return PhotoFacts.from_json(answer["facts"])
        except (KeyError, TypeError, ValueError) as error:
            raise PhotoRejected("decoding_crashed", "The picture made its decoder fail.") from error

    def thumbnail(self, photo: IO[bytes], max_side: int) -> bytes:
        """An upright JPEG without metadata; raises PhotoRejected."""
        _, data = self._ask({"task": "thumbnail", "max_side": max_side}, [photo], max_side**2 * _CHANNELS + _ENCODED_OVERHEAD_BYTES)
        return bytes(data)

    def overlay(self, photo: IO[bytes], labels: IO[bytes]) -> bytes:
        """A PNG of the photo under its mask, without metadata; raises PhotoRejected."""
        most = self.limits.max_pixels * _OVERLAY_BYTES_PER_PIXEL + _ENCODED_OVERHEAD_BYTES
        _, data = self._ask({"task": "overlay"}, [photo, labels], most)
        return bytes(data)

    def pixels(self, photo: IO[bytes], at_least: int | None = None) -> RawPixels:
        """The upright photo as raw RGB; raises PhotoRejected.

        `at_least`: a JPEG may come smaller than it is, where no side falls below so many pixels (`app.decoding.derived`).
        """
        answer, data = self._ask({"task": "pixels", "at_least": at_least}, [photo], self.limits.max_pixels * _CHANNELS)
        width, height = int(answer["width"]), int(answer["height"])
        if width < 1 or height < 1 or width * height * _CHANNELS != len(data):
            raise PhotoRejected("decoding_crashed", "The picture made its decoder fail.")
        return RawPixels(width, height, data)

    def close(self) -> None:
        """End every decoder; the one that is at work ends with its photo. May be called again."""
        self._is_closed = True
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for decoder in idle:
            if decoder is not None:
                decoder.end()
            self._slots.put(None)

    def _ask(self, request: dict[str, Any], files: list[IO[bytes]], most_bytes: int) -> tuple[dict[str, Any], bytearray]:
        with ExitStack() as stack:
            descriptors = [stack.enter_context(_descriptor(file)) for file in files]
            decoder = self._slots.get()
            try:
                decoder = decoder or DecoderProcess(self.limits)
                return decoder.ask(request, descriptors, most_bytes)
            except PhotoRejected as rejection:
                if decoder is not None and not decoder.is_alive:
                    log.warning("decoder.ended", task=request["task"], code=rejection.code, pid=decoder.pid)
                raise
            finally:
                self._give_back(decoder)

    def _give_back(self, decoder: DecoderProcess | None) -> None:
        if decoder is not None and decoder.is_alive and (self._is_closed or decoder.requests >= _REQUESTS_PER_PROCESS):
            decoder.end()
        self._slots.put(decoder if decoder is not None and decoder.is_alive else None)


@contextmanager
def _descriptor(file: IO[bytes]) -> Iterator[int]:
    """An open file of the kernel's with these bytes: the file itself, or a copy of what lies in memory or far away."""
    try:
        descriptor = file.fileno()
    except (AttributeError, OSError, io.UnsupportedOperation):
        with tempfile.TemporaryFile(prefix="personalseg-decoding-") as copy:
            shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.flush()
            yield copy.fileno()
    else:
        yield descriptor
