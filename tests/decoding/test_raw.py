"""A camera's raw file is not taken for the thumbnail that it begins with; ordinary TIFFs are."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, TiffImagePlugin

from app.decoding.errors import PhotoRejected
from app.decoding.pool import DecoderPool
from app.decoding.raw import require_developed
from tests.app.hostile import tiffs
from tests.app.photos import encoded, picture
from tests.decoding.conftest import decoded

BYTE = 1
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706
REDUCED, PAGE_OF_MANY = 1, 2


def preview(subfile_type: int = REDUCED, **options: object) -> bytes:
    """A small whole TIFF whose first directory is of this subfile type."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[NEW_SUBFILE_TYPE] = subfile_type
    return encoded(picture(160, 120), "TIFF", tiffinfo=directory, **options)


def big_endian(tag: int, value: bytes) -> bytes:
    """The head and a directory of one LONG."""
    return b"MM\0*" + struct.pack(">I", 8) + struct.pack(">HHHI", 1, tag, 4, 1) + value + bytes(4)


RAW = {
    "NEF, ARW: a reduced picture first": preview(),
    "one more bit beside it": preview(REDUCED | PAGE_OF_MANY),
    "as a SHORT": tiffs.tiff({NEW_SUBFILE_TYPE: tiffs.short(REDUCED)}),
    "of another byte order": big_endian(NEW_SUBFILE_TYPE, struct.pack(">I", REDUCED)),
    "BigTIFF": preview(big_tiff=True),
    "DNG": tiffs.tiff({DNG_VERSION: (BYTE, 4, b"\1\4\0\0")}),
    "DNG whose first picture is the whole one": tiffs.tiff({NEW_SUBFILE_TYPE: tiffs.long(0), DNG_VERSION: (BYTE, 4, b"\1\4\0\0")}),
    "pixels of a sensor": tiffs.tiff({tiffs.COLOUR: tiffs.short(32_803)}),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(100),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(100),
}


@pytest.mark.parametrize("name", RAW)
def test_a_raw_file_is_refused_and_the_cameras_jpeg_asked_for(decoder: DecoderPool, name: str) -> None:
    with pytest.raises(PhotoRejected, match="JPEG that the camera made") as rejection:
        decoder.inspect(io.BytesIO(RAW[name]))
    assert rejection.value.code == "unsupported_format"


@pytest.mark.parametrize("subfile_type", [0, PAGE_OF_MANY])
def test_an_ordinary_tiff_is_taken_also_one_of_many_pages(decoder: DecoderPool, subfile_type: int) -> None:
    assert decoder.inspect(io.BytesIO(preview(subfile_type))).media_type == "image/tiff"
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    many = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decoder.inspect(io.BytesIO(many)).width == 16


def test_a_smaller_copy_behind_the_picture_is_no_reason(decoder: DecoderPool) -> None:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[NEW_SUBFILE_TYPE] = REDUCED
    small = picture(8, 6)
    small.encoderinfo = {"tiffinfo": directory}
    data = encoded(picture(80, 60), "TIFF", save_all=True, append_images=[small])
    with Image.open(io.BytesIO(data)) as written:
        written.seek(1)
        assert written.tag_v2[NEW_SUBFILE_TYPE] == REDUCED
    assert decoder.inspect(io.BytesIO(data)).width == 80


def test_a_preview_that_was_stored_before_can_still_be_read(decoder: DecoderPool) -> None:
    assert decoded(decoder, preview()).size == (160, 120)


@pytest.mark.parametrize("offset", [0, 4, 15, 2**31, 2**32 - 1])
def test_a_directory_that_is_nowhere_is_left_to_the_decoder_of_tiff(offset: int) -> None:
    for head in (b"II*\0" + struct.pack("<I", offset), b"MM\0+\0\x08\0\0" + struct.pack(">Q", offset << 31)):
        stream = io.BytesIO(head.ljust(16, b"\xff"))
        require_developed(stream)
        assert stream.tell() == 0
