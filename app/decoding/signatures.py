"""What a file claims to be, by its first bytes; names and Content-Types are never asked."""

from __future__ import annotations

import re

from app.decoding.errors import PhotoRejected

HEAD_BYTES = 1024
TAKEN_FORMATS = "JPEG, PNG, WebP, HEIC and TIFF"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""The second is how a zip without any entry begins."""
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_HEIF_BRAND = rb"(?:hei[cxms]|hev[cxms]|mif1|msf1)"
# Pillow's names of the formats, which are all that it may try to read a file as.
_TAKEN = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(re.escape(_PNG_MAGIC)),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "HEIF": re.compile(rb"....ftyp" + _HEIF_BRAND, re.DOTALL),
}
_FOREIGN = {
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{8}", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "Photoshop": re.compile(rb"8BPS"),
    "ICO": re.compile(rb"\0\0[\1\2]\0"),
    "PNM": re.compile(rb"P[1-7]\s"),
    "DDS": re.compile(rb"DDS "),
    "QOI": re.compile(rb"qoif"),
}


def is_whole_png(data: bytes) -> bool:
    """Whether a PNG that we wrote is there from its first byte to its last: what a file system loses is a file's end, or all of it."""
    return data.startswith(_PNG_MAGIC) and data.endswith(_PNG_END)


def claimed_format(head: bytes) -> str:
    """Pillow's name of the format that the file begins as; raises PhotoRejected for one that is not taken."""
    if not head:
        raise PhotoRejected("zero_bytes", "The file is empty.")
    for name, signature in _TAKEN.items():
        if signature.match(head):
            return name
    for name, signature in _FOREIGN.items():
        if signature.match(head):
            raise PhotoRejected("unsupported_format", f"Pictures of format {name} are not taken. The service takes {TAKEN_FORMATS}.")
    raise PhotoRejected("not_an_image", f"The file is not a picture. The service takes {TAKEN_FORMATS}.")
