"""Are all pixels of a PNG there? Pillow leaves black what its packed data lack, and says nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from app.decoding.errors import damaged

_FIRST_CHUNK = 8
_CHANNELS_OF_COLOUR = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, step of columns, step of rows.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE_BYTES = 1024 * 1024


def require_png_pixels(data: bytes, end: int) -> None:
    """Raise PhotoRejected where the image data unpack to fewer bytes than the header says; chunks are known to be sound."""
    missing = _unpacked_bytes(data)
    unpacker = zlib.decompressobj()
    try:
        for body in _image_data(data, end):
            while body and missing > 0:
                missing -= len(unpacker.decompress(body, min(missing, _PIECE_BYTES)))
                if unpacker.eof:
                    break
                body = unpacker.unconsumed_tail
        while missing > 0 and not unpacker.eof:
            rest = unpacker.decompress(unpacker.unconsumed_tail, _PIECE_BYTES) or unpacker.flush(_PIECE_BYTES)
            if not rest:
                break
            missing -= len(rest)
    except zlib.error as error:
        raise damaged() from error
    if missing > 0:
        raise damaged()


def _unpacked_bytes(data: bytes) -> int:
    try:
        width, height, depth, colour, _, _, lacing = struct.unpack_from(">IIBBBBB", data, _FIRST_CHUNK + 8)
        bits = depth * _CHANNELS_OF_COLOUR[colour]
    except (struct.error, KeyError) as error:
        raise damaged() from error
    if not lacing:
        return _rows_bytes(width, height, bits)
    return sum(_rows_bytes(-(-(width - x) // dx), -(-(height - y) // dy), bits) for x, y, dx, dy in _PASSES)


def _rows_bytes(width: int, height: int, bits: int) -> int:
    # Each row begins with the byte of its filter.
    return height * (1 + (width * bits + 7) // 8) if width > 0 and height > 0 else 0


def _image_data(data: bytes, end: int) -> Iterator[bytes]:
    position = _FIRST_CHUNK
    while position < end:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            yield data[position + 8 : position + 8 + length]
        position += 12 + length
