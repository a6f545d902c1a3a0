"""Reads a multipart body as it arrives, one file at a time: neither memory nor disk ever holds more than one file.

(Starlette's own form parser spools every file of a batch before the route sees the first.)
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.decoding.signatures import ZIP_MAGICS
from app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

MAX_FILENAME_CHARACTERS = 1024
_PIECE_BYTES = 2048
"""So much of a body is parsed at once: its complete files are open together, and the smallest part has some 40 bytes."""
_EXTENDED_NAME = re.compile(r""";\s*filename\*\s*=\s*(?:[\w-]*'[^']*')?([^;\s]*)""", re.IGNORECASE)
_ZIP_TYPES = (b"application/zip", b"application/x-zip-compressed")


@dataclass(frozen=True)
class ReceivedFile:
    """One file of the request, cut off at its limit. `file` has no name on the disk and is gone when it is closed."""

    filename: str
    file: IO[bytes]
    byte_size: int
    sha256: str
    is_too_large: bool
    is_archive: bool = False

    def discard(self) -> None:
        """Give its space back; again is harmless."""
        self.file.close()


@dataclass
class FileWriter:
    """Writes one file's bytes to a temporary file, counting and hashing, up to a limit; zip files have a limit of their own.

    The temporary file has no name: whatever becomes of this process, nothing of it stays.
    """

    filename: str
    max_bytes: int
    max_archive_bytes: int | None = None
    byte_size: int = field(init=False, default=0)
    _file: IO[bytes] = field(init=False)
    _head: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - its owner closes it
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take some bytes; past the limit they are counted and dropped."""
        self.byte_size += len(data)
        self._head += data[: len(ZIP_MAGICS[0]) - len(self._head)]
        if self.byte_size <= self._limit():
            self._file.write(data)
            self._hash.update(data)

    def finish(self) -> ReceivedFile:
        """The file as it was received."""
        self._file.flush()
        self._file.seek(0)
        is_too_large = self.byte_size > self._limit()
        return ReceivedFile(self.filename, self._file, self.byte_size, self._hash.hexdigest(), is_too_large, self._is_archive())

    def abandon(self) -> None:
        """Drop what was written."""
        self._file.close()

    def _is_archive(self) -> bool:
        return self.max_archive_bytes is not None and self._head in ZIP_MAGICS

    def _limit(self) -> int:
        if self.max_archive_bytes is None or not self._is_archive():
            return self.max_bytes
        return self.max_archive_bytes


def clean_filename(raw: str) -> str:
    """A file name as it may be stored: no control characters, never empty, of bounded length."""
    cleaned = "".join(character for character in raw if character.isprintable()).strip()
    return cleaned[-MAX_FILENAME_CHARACTERS:] or "unnamed"


@dataclass(frozen=True)
class BodyBounds:
    """How much a request may bring: bytes of one file, of one zip file (None: zip files are nothing special), of all."""

    max_file_bytes: int
    max_archive_bytes: int | None = None
    max_body_bytes: int | None = None


async def received_files(request: Request, bounds: BodyBounds) -> AsyncGenerator[ReceivedFile, None]:
    """The files of the body, each as soon as it is complete; parts without a file name are passed over.

    Where zip files are taken, the whole body may be one (`application/zip`). Raises UnsupportedMediaType for another kind
    of body, BadRequest when it is broken or cut off, PayloadTooLarge.
    """
    if bounds.max_archive_bytes is not None and _media_type(request)[0] in _ZIP_TYPES:
        yield await _whole_body(request, bounds)
        return
    reader = _PartReader(_boundary(request), bounds)
    try:
        async for chunk in _bounded(request, bounds.max_body_bytes):
            for piece in _pieces(chunk):
                for received in reader.feed(piece):
                    yield received
        reader.require_end()
    finally:
        reader.abandon()


def _pieces(chunk: bytes) -> Iterator[bytes]:
    return (chunk[start : start + _PIECE_BYTES] for start in range(0, len(chunk), _PIECE_BYTES))


async def _whole_body(request: Request, bounds: BodyBounds) -> ReceivedFile:
    writer = FileWriter("archive.zip", bounds.max_file_bytes, bounds.max_archive_bytes)
    try:
        async for chunk in _bounded(request, bounds.max_body_bytes):
            writer.write(chunk)
    except BaseException:  # also when the caller hangs up
        writer.abandon()
        raise
    return writer.finish()


async def _bounded(request: Request, most: int | None) -> AsyncGenerator[bytes, None]:
    announced = request.headers.get("content-length", "")
    total = int(announced) if announced.isascii() and announced.isdigit() else 0
    _require_bytes(total, most)
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        _require_bytes(total, most)
        yield chunk


def _require_bytes(total: int, most: int | None) -> None:
    if most is not None and total > most:
        detail = f"One request takes at most {most} bytes. What was complete before is stored; send the rest in parts."
        raise PayloadTooLarge("body_too_large", detail)


def _media_type(request: Request) -> tuple[bytes, dict[bytes, bytes]]:
    return parse_options_header(request.headers.get("content-type", ""))


def _boundary(request: Request) -> bytes:
    media_type, options = _media_type(request)
    if media_type != b"multipart/form-data":
        raise UnsupportedMediaType("not_multipart", "Send the photos as multipart/form-data, in fields named `files`.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("bad_multipart", "The Content-Type header names no boundary.")
    return boundary


def _filename_of(disposition: bytes) -> str | None:
    """The part's file name, cleaned; None for a field that is no file.

    RFC 7578 forbids `filename*`, and some clients send it all the same: such a part is a file, not something to pass over.
    """
    _, options = parse_options_header(disposition)
    raw = options.get(b"filename")
    if raw is not None:
        return clean_filename(raw.decode("utf-8", errors="replace"))
    extended = _EXTENDED_NAME.search(disposition.decode("latin-1"))
    return None if extended is None else clean_filename(unquote(extended[1]))


class _PartReader:
    """Turns the parser's callbacks into files."""

    def __init__(self, boundary: bytes, bounds: BodyBounds) -> None:
        self._bounds = bounds
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._writer: FileWriter | None = None
        self._complete: list[ReceivedFile] = []
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_part_data": self._take_data,
                    "on_part_end": self._end_part,
                    "on_header_field": self._take_header_name,
                    "on_header_value": self._take_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_end": self._end,
                },
            )
        except (FormParserError, ValueError) as error:
            raise _broken(error) from error

    def feed(self, chunk: bytes) -> list[ReceivedFile]:
        """Take some of the body; returns the files that it completed."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(error) from error
        complete, self._complete = self._complete, []
        return complete

    def require_end(self) -> None:
        """Raise BadRequest when the closing boundary has not come."""
        if not self._ended:
            raise BadRequest("bad_multipart", "The multipart body ends before its closing boundary.")

    def abandon(self) -> None:
        """Remove the temporary files that nobody has taken."""
        if self._writer is not None:
            self._writer.abandon()
        for received in self._complete:
            received.discard()

    def _begin_part(self) -> None:
        self._disposition = b""

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        name = _filename_of(self._disposition)
        if name is not None:
            self._writer = FileWriter(name, self._bounds.max_file_bytes, self._bounds.max_archive_bytes)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._writer is not None:
            self._writer.write(data[start:end])

    def _end_part(self) -> None:
        if self._writer is not None:
            self._complete.append(self._writer.finish())
            self._writer = None

    def _end(self) -> None:
        self._ended = True


def _broken(error: Exception) -> BadRequest:
    return BadRequest("bad_multipart", f"The multipart body cannot be read: {error}")
