"""What a file is, by its content: format, upright size, time taken; or why it is not a photo that we take."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

MEDIA_TYPE_OF_FORMAT = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
}
_TAKEN_FORMATS = "JPEG, PNG, WebP, HEIC and TIFF"
_TURNED_ORIENTATIONS = range(5, 9)
_OLDEST_CAMERA_YEAR = 1800
# How a file of a format that we take begins; one that begins so and cannot be opened is damaged, not foreign.
_SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|II\*\0|MM\0\*|....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)


class PhotoRejected(Exception):
    """This file is not taken: a stable code, and a sentence for a person."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class PhotoFacts:
    """What the gallery holds about a photo; width and height are EXIF-upright pixels."""

    media_type: str
    width: int
    height: int
    taken_at: datetime | None


@cache
def register_formats() -> None:
    """Teach Pillow to read HEIC, and leave counting pixels to our own bound; once per process."""
    pillow_heif.register_heif_opener()
    # Pillow's guard stays as an error behind our bound; its warning would only repeat what is allowed.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def inspect_photo(path: Path, *, max_pixels: int) -> PhotoFacts:
    """Read a photo's facts and decode it once, to know that it is whole.

    The pixels are counted from the header, before anything is decoded. Raises PhotoRejected with `zero_bytes`,
    `not_an_image`, `unsupported_format`, `too_many_pixels` or `truncated_image`.
    """
    register_formats()
    if path.stat().st_size == 0:
        raise PhotoRejected("zero_bytes", "The file is empty.")
    with _opened(path) as image:
        _require_taken_format(image)
        _require_pixels(image.width, image.height, max_pixels)
        facts = _facts(image)
        _decode(image)
    return facts


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Image.DecompressionBombError as error:
        raise PhotoRejected("too_many_pixels", "The picture has far more pixels than the service takes.") from error
    except UnidentifiedImageError as error:
        raise _unreadable(path) from error
    except Exception as error:  # the parsers of hostile files raise whatever they like
        raise _unreadable(path) from error


def _unreadable(path: Path) -> PhotoRejected:
    with path.open("rb") as stream:
        begins_well = _SIGNATURE.match(stream.read(16)) is not None
    if begins_well:
        return PhotoRejected("truncated_image", "The picture is damaged or cut off.")
    return PhotoRejected("not_an_image", f"The file is not a picture. The service takes {_TAKEN_FORMATS}.")


def _require_taken_format(image: Image.Image) -> None:
    if image.format not in MEDIA_TYPE_OF_FORMAT:
        reason = f"Pictures of format {image.format} are not taken. The service takes {_TAKEN_FORMATS}."
        raise PhotoRejected("unsupported_format", reason)


def _require_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        reason = f"The picture has {width} × {height} = {width * height} pixels; at most {max_pixels} are taken."
        raise PhotoRejected("too_many_pixels", reason)


def _decode(image: Image.Image) -> None:
    try:
        # A JPEG decoded at an eighth of its size is read to its end all the same, with a fraction of the memory.
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    except Exception as error:  # the decoders of hostile files raise whatever they like
        raise PhotoRejected("truncated_image", "The picture is damaged or cut off.") from error


def _facts(image: Image.Image) -> PhotoFacts:
    orientation, taken_at = _exif_facts(image)
    width, height = image.size
    if orientation in _TURNED_ORIENTATIONS:
        width, height = height, width
    return PhotoFacts(MEDIA_TYPE_OF_FORMAT[str(image.format)], width, height, taken_at)


def _exif_facts(image: Image.Image) -> tuple[int, datetime | None]:
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        taken = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        offset = details.get(ExifTags.Base.OffsetTimeOriginal) or "+00:00"
    except Exception:  # broken EXIF does not make a broken photo
        return 1, None
    return (orientation if isinstance(orientation, int) else 1), _parse_time(taken, offset)


def _parse_time(taken: object, offset: object) -> datetime | None:
    # EXIF writes 2024:05:31 18:02:11 in local time; without an offset we read it as UTC.
    try:
        moment = datetime.strptime(f"{str(taken).strip()[:19]}{offset}", "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= _OLDEST_CAMERA_YEAR else None
