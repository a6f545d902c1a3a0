"""Pictures made from a photo: upright RGB, thumbnail. No metadata of the photo gets into them."""

from __future__ import annotations

import io
from typing import IO

from PIL import Image, ImageOps

from app.images.inspection import register_formats

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I")
_JPEG_QUALITY = 85


def upright_rgb(stream: IO[bytes], *, near_size: int | None = None) -> Image.Image:
    """The photo, turned as its EXIF says, as 8-bit RGB; `near_size` pixels lets a JPEG be decoded smaller."""
    register_formats()
    with Image.open(stream) as image:
        if near_size is not None:
            image.draft("RGB", (near_size, near_size))
        return _as_rgb(ImageOps.exif_transpose(image))


def thumbnail(stream: IO[bytes], *, max_side: int) -> bytes:
    """A JPEG whose longer side is at most `max_side` pixels."""
    picture = upright_rgb(stream, near_size=max_side)
    picture.thumbnail((max_side, max_side))
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=_JPEG_QUALITY)
    return target.getvalue()


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        image = Image.alpha_composite(white, with_alpha)
    picture = image.convert("RGB")
    # A fresh image carries no EXIF, GPS or colour profile of the original.
    picture.info = {}
    return picture
