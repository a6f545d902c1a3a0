"""Reads a multipart body as it arrives, one file at a time: neither memory nor disk ever holds more than one file.

(Starlette's own form parser spools every file of a batch before the route sees the first.)
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BadRequest, UnsupportedMediaType

MAX_FILENAME_CHARACTERS = 1024


@dataclass(frozen=True)
class ReceivedFile:
    """One file of the request. `path` is a temporary file that the receiver deletes; it is cut off at the limit."""

    filename: str
    path: Path
    byte_size: int
    sha256: str
    is_too_large: bool


@dataclass
class FileWriter:
    """Writes one file's bytes to a temporary file, counting and hashing, up to a limit."""

    filename: str
    max_bytes: int
    path: Path = field(init=False)
    byte_size: int = field(init=False, default=0)
    _stream: IO[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with tempfile.NamedTemporaryFile(prefix="personalseg-upload-", delete=False) as opened:
            self.path = Path(opened.name)
        self._stream = self.path.open("wb")
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take some bytes; past the limit they are counted and dropped."""
        self.byte_size += len(data)
        if self.byte_size <= self.max_bytes:
            self._stream.write(data)
            self._hash.update(data)

    def finish(self) -> ReceivedFile:
        """The file as it was received."""
        self._stream.close()
        return ReceivedFile(self.filename, self.path, self.byte_size, self._hash.hexdigest(), self.byte_size > self.max_bytes)

    def abandon(self) -> None:
        """Drop what was written."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def clean_filename(raw: str) -> str:
    """A file name as it may be stored: no control characters, never empty, of bounded length."""
    cleaned = "".join(character for character in raw if character.isprintable()).strip()
    return cleaned[-MAX_FILENAME_CHARACTERS:] or "unnamed"


async def received_files(request: Request, *, max_file_bytes: int) -> AsyncGenerator[ReceivedFile, None]:
    """The files of the body, each as soon as it is complete; parts without a file name are passed over.

    Raises UnsupportedMediaType when the body is not multipart/form-data, BadRequest when it is broken or cut off.
    """
    reader = _PartReader(_boundary(request), max_file_bytes)
    try:
        async for chunk in request.stream():
            for received in reader.feed(chunk):
                yield received
        reader.require_end()
    finally:
        reader.abandon()


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/form-data":
        raise UnsupportedMediaType("not_multipart", "Send the photos as multipart/form-data, in fields named `files`.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("bad_multipart", "The Content-Type header names no boundary.")
    return boundary


class _PartReader:
    """Turns the parser's callbacks into files."""

    def __init__(self, boundary: bytes, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
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
        if chunk:
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
            with suppress(OSError):
                received.path.unlink()

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
        _, options = parse_options_header(self._disposition)
        raw = options.get(b"filename")
        if raw is not None:
            name = clean_filename(raw.decode("utf-8", errors="replace"))
            self._writer = FileWriter(name, self._max_file_bytes)

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
