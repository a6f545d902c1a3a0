"""From a file to an upright 8-bit sRGB picture. Everything that shows or segments a photo gets its pixels here.

Runs inside a decoder process. Orientation, alpha, 16 bits, palettes, CMYK and colour profiles are handled here and nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from app.decoding.colour import flat_mode, to_srgb
from app.decoding.errors import PhotoRejected, damaged, is_file_system_away
from app.decoding.signatures import HEAD_BYTES, TAKEN_FORMATS, claimed_format

_STRIP_PIXELS = 4_000_000
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# How Pillow names a packed text or profile that is too large.
_BOMB_SIGNS = ("ecompressed data too large", "Too much memory used in text chunks")
_ON_THEIR_SIDE = (5, 6, 7, 8)


@cache
def prepare_pillow() -> None:
    """Teach Pillow to read HEIC; once per process. Its bomb check is an error, and stands behind our own bound."""
    # Embedded thumbnails would be decoded in a photo's stead, and say nothing of whether the photo is whole.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    warnings.simplefilter("error", Image.DecompressionBombWarning)


@contextmanager
def opened_photo(stream: IO[bytes], max_pixels: int) -> Iterator[Image.Image]:
    """The file's first picture, its header read and its pixels counted, nothing decoded; raises PhotoRejected.

    Whatever a decoder raises inside the block leaves as PhotoRejected too; but `is_file_system_away` is no fault of the file's.
    """
    prepare_pillow()
    format = claimed_format(stream.read(HEAD_BYTES))
    stream.seek(0)
    try:
        with Image.open(stream, formats=[format]) as image:
            _require_pixels(image, max_pixels)
            _require_mode(image)
            yield image
    except (PhotoRejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoRejected("too_many_pixels", f"The picture has far more pixels than the {max_pixels} that are taken.") from error
    except UnidentifiedImageError as error:
        raise damaged() from error
    except Exception as error:  # the parsers of hostile files raise whatever they like
        if is_file_system_away(error):
            raise
        raise _told(error) from error


def _told(error: Exception) -> PhotoRejected:
    if any(sign in str(error) for sign in _BOMB_SIGNS):
        return PhotoRejected("decompression_bomb", "A part of the file unpacks to far more than a photo needs.")
    return damaged()


def _require_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        reason = f"The picture has {image.width} × {image.height} = {image.width * image.height} pixels; at most {max_pixels} are taken."
        raise PhotoRejected("too_many_pixels", reason)


def _require_mode(image: Image.Image) -> None:
    if flat_mode(image) is None:
        reason = f"Pictures with pixels of kind {image.mode} are not taken. The service takes 8-bit and 16-bit {TAKEN_FORMATS}."
        raise PhotoRejected("unsupported_format", reason)


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1–8, of a *loaded* picture: loading a TIFF or an HEIC has already turned it, and then this is 1."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF does not make a broken photo
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after turning."""
    return (size[1], size[0]) if orientation in _ON_THEIR_SIDE else size


def upright_rgb(image: Image.Image) -> Image.Image:
    """The opened picture as upright 8-bit sRGB on white; carries no metadata and no colour profile."""
    image.load()
    orientation = orientation_of(image)
    picture = _in_srgb(image)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    picture.info = {}
    return picture


def _in_srgb(image: Image.Image) -> Image.Image:
    convert = to_srgb(image)
    if convert is None:
        return image.copy()
    # Strip by strip: a large photo is never held three times.
    picture = Image.new("RGB", image.size)
    for box in strips(image.size):
        picture.paste(_converted(image, box, convert), box)
    return picture


def _converted(image: Image.Image, box: tuple[int, int, int, int], convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    return convert(image.crop(box))


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of full rows, top to bottom, of a few million pixels each."""
    width, height = size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield (0, top, width, min(height, top + rows))
