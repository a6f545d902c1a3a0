"""Is a file what a camera's sensor saw, before any picture was made of it? Such a file holds a picture as well, but often a thumbnail.

Most raw formats (DNG, NEF, ARW, CR2, PEF) are TIFFs: a decoder of TIFF would take the small preview in their first directory for the photo.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import IO

from app.decoding.errors import PhotoRejected

_SIGNATURE = re.compile(
    rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|....ftypcrx|(?:II\*\0|MM\0\*)....CR\x02",  # RAF, ORF, RW2, X3F, CR3, CR2
    re.DOTALL,
)
_NEW_SUBFILE_TYPE, _PHOTOMETRIC, _DNG_VERSION = 254, 262, 50706
_REDUCED = 1
# Colour filter array, linear raw: what a sensor saw, no picture yet.
_SENSOR_PIXELS = (32803, 34892)
_MOST_ENTRIES = 65_535
_SHORT, _LONG, _LONG8 = 3, 4, 16
_FORM_OF_TYPE = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


def require_developed(stream: IO[bytes]) -> None:
    """Raise PhotoRejected for a camera's raw file; the stream is at its beginning, and is left there."""
    head = stream.read(16)
    is_raw = _SIGNATURE.match(head) is not None or any(_is_of_raw(tag, value) for tag, value in _first_directory(stream, head))
    stream.seek(0)
    if is_raw:
        reason = "This is a camera's raw file, or only a preview of a larger picture. Send the JPEG that the camera made of it."
        raise PhotoRejected("unsupported_format", reason)


def _is_of_raw(tag: int, value: int) -> bool:
    if tag == _NEW_SUBFILE_TYPE:
        return bool(value & _REDUCED)
    return tag == _DNG_VERSION or (tag == _PHOTOMETRIC and value in _SENSOR_PIXELS)


def _first_directory(stream: IO[bytes], head: bytes) -> Iterator[tuple[int, int]]:
    """(tag, its value where that is one whole number, else 0) of a TIFF; ends early where the file is damaged or no TIFF at all."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    (version,) = struct.unpack_from(f"{order}H", head, 2)
    if version == 42:
        yield from _entries(stream, order, struct.unpack_from(f"{order}I", head, 4)[0], count_form="H", entry_form="HHI4s")
    elif version == 43:
        yield from _entries(stream, order, struct.unpack_from(f"{order}Q", head, 8)[0], count_form="Q", entry_form="HHQ8s")


def _entries(stream: IO[bytes], order: str, offset: int, *, count_form: str, entry_form: str) -> Iterator[tuple[int, int]]:
    entry = struct.Struct(order + entry_form)
    if offset >= stream.seek(0, os.SEEK_END):
        return
    stream.seek(offset)
    try:
        (count,) = struct.unpack(order + count_form, stream.read(struct.calcsize(order + count_form)))
        for _ in range(min(count, _MOST_ENTRIES)):
            tag, kind, values, held = entry.unpack(stream.read(entry.size))
            form = _FORM_OF_TYPE.get(kind)
            fits = form is not None and values == 1 and struct.calcsize(order + form) <= len(held)
            yield tag, struct.unpack_from(order + str(form), held)[0] if fits else 0
    except struct.error:  # cut off
        return
