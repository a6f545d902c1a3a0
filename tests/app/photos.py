"""Photo files that tests upload, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random

from PIL import ExifTags, Image

Files = list[tuple[str, bytes]]


def picture(width: int = 64, height: int = 48, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Some colours that depend on the seed."""
    colours = Random(seed).randbytes(4 * 3 * 3)
    small = Image.frombytes("RGB", (4, 3), colours)
    return small.resize((width, height)).convert(mode)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The picture as a file of this format."""
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def jpeg(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A JPEG file."""
    return encoded(picture(width, height, seed=seed), "JPEG")


def jpeg_with_exif(*, orientation: int = 1, taken: str | None = None, offset: str | None = None) -> bytes:
    """A 64 × 48 JPEG with these EXIF entries."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    if taken is not None:
        details[ExifTags.Base.DateTimeOriginal] = taken
    if offset is not None:
        details[ExifTags.Base.OffsetTimeOriginal] = offset
    return encoded(picture(), "JPEG", exif=exif)


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims a size; its data ends after a few pixels."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def mask_png(width: int, height: int, *, label: int, background_rows: int = 0) -> bytes:
    """A palette PNG: `label` everywhere but in the first rows, which are background."""
    image = Image.new("P", (width, height), label)
    image.paste(0, (0, 0, width, background_rows))
    image.putpalette([0, 0, 0, *[(value * 40) % 256 for value in range(3 * 20)]])
    return encoded(image, "PNG")
