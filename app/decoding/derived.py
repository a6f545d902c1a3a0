"""Pictures made from a photo: thumbnail, overlay, raw pixels. No metadata of the photo gets into them. Runs inside a decoder process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

from PIL import Image

from app.decoding.errors import PhotoRejected, is_file_system_away
from app.decoding.pictures import opened_photo, strips, upright_rgb

_JPEG_QUALITY = 85
_OVERLAY_ALPHA = 150
_BACKGROUND = 0
_FAST_PNG = 1  # zlib's level: an overlay is looked at once


def thumbnail(photo: IO[bytes], max_pixels: int, max_side: int) -> bytes:
    """An upright JPEG whose longer side is at most `max_side` pixels."""
    with opened_photo(photo, max_pixels) as image:
        image.draft(image.mode, (max_side, max_side))
        picture = upright_rgb(image)
    picture.thumbnail((max_side, max_side))
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=_JPEG_QUALITY)
    return target.getvalue()


def overlay(photo: IO[bytes], labels: IO[bytes], max_pixels: int) -> bytes:
    """A PNG of the photo with its classes laid over it; the background shows the photo alone.

    Raises PhotoRejected; where it is the mask that cannot be read, or is of another size than the photo, its code is `mask_damaged`.
    """
    with opened_photo(photo, max_pixels) as image:
        picture = upright_rgb(image)
    try:
        with Image.open(labels, formats=["PNG"]) as mask:
            if mask.size != picture.size:
                raise ValueError(f"a mask of {mask.size} for a photo of {picture.size}")
            # A palette picture's bytes are the class ids; seen as grey they can be looked up in a table.
            values = Image.frombytes("L", mask.size, mask.tobytes())
            alpha = values.point([0 if value == _BACKGROUND else _OVERLAY_ALPHA for value in range(256)])
            picture.paste(mask.convert("RGB"), mask=alpha)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow says of broken chunks
        if is_file_system_away(error):
            raise
        raise PhotoRejected("mask_damaged", "The mask's file is damaged.") from error
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=_FAST_PNG)
    return target.getvalue()


def pixels(photo: IO[bytes], max_pixels: int, at_least: int | None = None) -> tuple[int, int, Iterator[bytes]]:
    """Width, height, and the upright RGB bytes, some rows at a time.

    `at_least`: both sides need no more pixels than this; a JPEG may then come at 1/2, 1/4 or 1/8 of its size, which is decoded several
    times faster. None: at its own size.
    """
    with opened_photo(photo, max_pixels) as image:
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        picture = upright_rgb(image)
    return picture.width, picture.height, (picture.crop(box).tobytes() for box in strips(picture.size))
