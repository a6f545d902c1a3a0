"""Is the file whole, and is it nothing else besides? Read from its structure, because decoders forgive what lacks at the end.

Each format but TIFF says where it ends; a TIFF's strips are all asked for by the decoder. Bytes after the end are let be
(phones append videos and second pictures), unless they make the file an archive, a document or a page as well.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from app.decoding.errors import PhotoRejected, damaged
from app.decoding.png_pixels import require_png_pixels
from app.decoding.signatures import HEAD_BYTES

# A JPEG marker: not a stuffed zero, a fill byte or a restart.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_BARE_MARKERS = (0x01, 0xD8)
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
# Each scan makes the decoder go over the whole picture once more; encoders write about ten.
_MOST_SCANS = 200
_PNG_SIGNATURE_BYTES = 8
_MOST_PARTS = 100_000
# What makes readers of other kinds open a file that begins as a picture.
_PDF_ANYWHERE_EARLY = b"%PDF-"
_PAGE = re.compile(rb"<!doctype\s+html|<html[\s>]|<script[\s>]|<svg[\s>]|<\?php|^\s*#!/|\x7fELF|^MZ", re.IGNORECASE)


def require_whole(data: bytes, format: str) -> None:
    """Raise PhotoRejected with `truncated_image`, `too_complex` or `polyglot`."""
    end = _END_OF[format](data)
    _require_nothing_else(data, end)


def _end_of_jpeg(data: bytes) -> int:
    scans = 0
    for code, position in _jpeg_markers(data):
        scans += code == _JPEG_SCAN
        if scans > _MOST_SCANS:
            raise _too_complex()
        if code == _JPEG_END:
            return position
    raise damaged()


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where it ends)"""
    position = 0
    for _ in range(_MOST_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            return
        code, position = data[marker.start() + 1], marker.end()
        yield code, position
        if code not in _JPEG_BARE_MARKERS:
            position += _unpack(">H", data, position, least=2)
    raise _too_complex()


def _end_of_png(data: bytes) -> int:
    position = _PNG_SIGNATURE_BYTES
    for _ in range(_MOST_PARTS):
        length = _unpack(">I", data, position)
        end = position + 12 + length
        body = memoryview(data)[position + 4 : end - 4]
        if zlib.crc32(body) != _unpack(">I", data, end - 4):
            raise damaged()
        if bytes(body[:4]) == b"IEND":
            require_png_pixels(data, end)
            return end
        position = end
    raise _too_complex()


def _end_of_webp(data: bytes) -> int:
    end = 8 + _unpack("<I", data, 4)
    if end > len(data):
        raise damaged()
    return end


def _end_of_heif(data: bytes) -> int:
    position = 0
    for _ in range(_MOST_PARTS):
        if position == len(data) or (position and not _is_box_type(data[position + 4 : position + 8])):
            return position
        size = _unpack(">I", data, position)
        if size == 0:
            return len(data)
        size = _unpack(">Q", data, position + 8) if size == 1 else size
        position += size
        if size < 8 or position > len(data):
            raise damaged()
    raise _too_complex()


def _end_of_tiff(data: bytes) -> int:
    return len(data)


_END_OF: dict[str, Callable[[bytes], int]] = {
    "JPEG": _end_of_jpeg,
    "PNG": _end_of_png,
    "WEBP": _end_of_webp,
    "HEIF": _end_of_heif,
    "TIFF": _end_of_tiff,
}


def _is_box_type(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= letter < 127 or letter == 0xA9 for letter in name)


def _unpack(form: str, data: bytes, position: int, *, least: int = 0) -> int:
    try:
        value = int(struct.unpack_from(form, data, position)[0])
    except struct.error as error:
        raise damaged() from error
    if value < least:
        raise damaged()
    return value


def _require_nothing_else(data: bytes, end: int) -> None:
    tail = data[end : end + HEAD_BYTES]
    if _PDF_ANYWHERE_EARLY in data[:HEAD_BYTES] or _PDF_ANYWHERE_EARLY in tail:
        raise _polyglot("a PDF document")
    if _PAGE.search(tail) or _PAGE.search(data[:HEAD_BYTES]):
        raise _polyglot("a page or a program")
    if _is_archive(data):
        raise _polyglot("a zip archive")


def _is_archive(data: bytes) -> bool:
    stream = io.BytesIO(data)
    if not zipfile.is_zipfile(stream):
        return False
    try:
        with zipfile.ZipFile(stream) as archive:
            return bool(archive.filelist)
    except Exception:  # four letters by chance are no archive
        return False


def _polyglot(what: str) -> PhotoRejected:
    return PhotoRejected("polyglot", f"The file is a picture and {what} at once.")


def _too_complex() -> PhotoRejected:
    return PhotoRejected("too_complex", "The file is made of far more parts than a photo.")
