"""What a photo file is: format, upright size, time taken; or why it is not taken. Runs inside a decoder process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, Any

from PIL import ExifTags, Image

from app.decoding.pictures import opened_photo, orientation_of, upright_size
from app.decoding.raw import require_developed
from app.decoding.signatures import HEAD_BYTES, claimed_format
from app.decoding.wholeness import require_whole

MEDIA_TYPE_OF_FORMAT = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
}
_OLDEST_CAMERA_YEAR = 1800


@dataclass(frozen=True)
class PhotoFacts:
    """What the gallery holds about a photo; width and height are upright pixels."""

    media_type: str
    width: int
    height: int
    taken_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self) | {"taken_at": None if self.taken_at is None else self.taken_at.isoformat()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PhotoFacts:
        """Back from the wire; raises ValueError, KeyError or TypeError for anything else."""
        taken_at = fields["taken_at"]
        if fields["media_type"] not in MEDIA_TYPE_OF_FORMAT.values():
            raise ValueError("unknown media type")
        moment = None if taken_at is None else datetime.fromisoformat(taken_at)
        return cls(fields["media_type"], int(fields["width"]), int(fields["height"]), moment)


def inspect_photo(stream: IO[bytes], max_pixels: int) -> PhotoFacts:
    """Read a photo's facts and decode it once, to know that it is whole; raises PhotoRejected.

    In this order: format, pixels, structure to the file's end, and only then the pixels themselves.
    """
    require_developed(stream)
    format = claimed_format(stream.read(HEAD_BYTES))
    stream.seek(0)
    with opened_photo(stream, max_pixels) as image:
        position = stream.tell()
        stream.seek(0)
        require_whole(stream.read(), format)
        stream.seek(position)
        size = image.size
        # A JPEG decoded at an eighth of its size is read to its end all the same, with a fraction of the memory.
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        width, height = upright_size(size, orientation_of(image))
        return PhotoFacts(MEDIA_TYPE_OF_FORMAT[str(image.format)], width, height, _taken_at(image))


def _taken_at(image: Image.Image) -> datetime | None:
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        taken = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        offset = details.get(ExifTags.Base.OffsetTimeOriginal)
    except Exception:  # broken EXIF does not make a broken photo
        return None
    return _parse_time(taken, offset)


def _parse_time(taken: object, offset: object) -> datetime | None:
    # EXIF writes 2024:05:31 18:02:11 in local time; without an offset (or with a blank one, "   :  ") we read it as UTC.
    zone = str(offset or "").strip(" \0")
    zone = zone if zone.strip(" :") else "+00:00"
    try:
        moment = datetime.strptime(f"{str(taken).strip()[:19]}{zone}", "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= _OLDEST_CAMERA_YEAR else None
