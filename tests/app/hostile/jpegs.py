"""Hostile JPEG files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import ExifTags, Image

from tests.app.photos import encoded, picture

DAMAGED = "truncated_image"
Hostile = tuple[str, bytes, str]


def plain(**options: object) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "x" * 200
    return encoded(picture(80, 60, seed=3), "JPEG", exif=exif, comment=b"hello", **options)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where it begins, where its body ends) up to the first scan."""
    position = 2
    while True:
        marker, length = data[position + 1], struct.unpack_from(">H", data, position + 2)[0]
        yield marker, position, position + 2 + length
        if marker == 0xDA:
            return
        position += 2 + length


def segment(marker: int, body: bytes = b"") -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def body_of(data: bytes, wanted: int) -> tuple[int, int]:
    return next((start, end) for marker, start, end in segments(data) if marker == wanted)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def files() -> Iterator[Hostile]:
    for name, whole in (("baseline", plain()), ("progressive", plain(progressive=True))):
        yield from _cut(name, whole)
        yield from _wrong_lengths(name, whole)
    yield from _wrong_headers()
    yield from _too_much()


def _cut(name: str, whole: bytes) -> Iterator[Hostile]:
    for index, (marker, start, end) in enumerate(segments(whole)):
        for place, at in (("in its marker", start + 1), ("after its marker", start + 2), ("in it", (start + end) // 2), ("after it", end)):
            yield f"{name} JPEG cut {place} {index} ({marker:02x})", whole[:at], DAMAGED
    for part in range(1, 8):
        start = body_of(whole, 0xDA)[1]
        yield f"{name} JPEG cut at {part}/8 of its scans", whole[: start + (len(whole) - start) * part // 8], DAMAGED
    yield f"{name} JPEG without its end", whole[:-2], DAMAGED
    yield f"{name} JPEG without its last byte", whole[:-1], DAMAGED
    yield f"{name} JPEG of zeros from the middle on", whole[: len(whole) // 2] + bytes(len(whole) // 2), DAMAGED


def _wrong_lengths(name: str, whole: bytes) -> Iterator[Hostile]:
    for index, (_, start, _) in enumerate(segments(whole)):
        for length in (0, 1, 0xFFFF):
            yield f"{name} JPEG, segment {index} of length {length}", patched(whole, start + 2, struct.pack(">H", length)), DAMAGED


def _wrong_headers() -> Iterator[Hostile]:
    whole = plain()
    frame, _ = body_of(whole, 0xC0)
    for name, offset, new, code in (
        ("no rows", 5, b"\0\0", DAMAGED),
        ("no columns", 7, b"\0\0", DAMAGED),
        ("65535 × 65535", 5, b"\xff\xff\xff\xff", "too_many_pixels"),
        ("16 bits", 4, b"\x10", DAMAGED),
        ("no components", 9, b"\0", DAMAGED),
        ("255 components", 9, b"\xff", DAMAGED),
        ("impossible sampling", 11, b"\xff", DAMAGED),
        ("a quantisation table that is not there", 12, b"\x03", DAMAGED),
    ):
        yield f"JPEG with {name}", patched(whole, frame + offset, new), code
    for name, marker in (("lossless", 0xC3), ("hierarchical", 0xC5), ("reserved", 0xC8)):
        yield f"{name} JPEG", patched(whole, frame + 1, bytes((marker,))), DAMAGED
    start, end = body_of(whole, 0xC4)
    yield "JPEG with a Huffman table of too many codes", patched(whole, start + 5, b"\xff" * 16), DAMAGED
    yield "JPEG without Huffman code lengths", whole[:start] + segment(0xC4, b"\0" * 5) + whole[end:], DAMAGED
    yield "JPEG of a head only", b"\xff\xd8\xff", DAMAGED
    yield "JPEG of head and end", b"\xff\xd8\xff\xd9", DAMAGED
    yield "JPEG of ones", b"\xff\xd8" + b"\xff" * 5000, DAMAGED
    yield "JPEG without a frame", b"\xff\xd8" + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + b"\xff\xd9", DAMAGED
    scan, _ = body_of(whole, 0xDA)
    yield "JPEG whose scan comes first", whole[:2] + whole[scan:], DAMAGED
    yield "JPEG that begins over and over", b"\xff\xd8" * 2000, DAMAGED


def _too_much() -> Iterator[Hostile]:
    whole = plain()
    yield "JPEG of 150,000 comments", whole[:2] + segment(0xFE) * 150_000 + whole[2:], "too_complex"
    progressive = plain(progressive=True)
    scan, end = body_of(progressive, 0xDA)
    yield "JPEG of 2,000 scans", progressive[:scan] + progressive[scan:end] * 2000 + progressive[scan:], "too_complex"


def harmless() -> Iterator[tuple[str, bytes]]:
    """Odd, but whole photos: taken, and nothing of their oddity goes further."""
    whole = plain()
    loop = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08"
    start = body_of(whole, 0xDA)[1]
    # libjpeg paints in grey what lacks, as browsers show it; Pillow does not tell. See decision 12.
    yield "JPEG cut in the middle with an end put to it", whole[: (start + len(whole)) // 2].rstrip(b"\xff") + b"\xff\xd9"
    yield "JPEG whose EXIF refers to itself", whole[:2] + segment(0xE1, loop) + whole[2:]
    yield "JPEG with a megabyte of EXIF", whole[:2] + segment(0xE1, b"Exif\0\0" + b"\xff" * 65_000) * 16 + whole[2:]
    yield "JPEG with EXIF of 65,535 entries", whole[:2] + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff") + whole[2:]
    yield "JPEG that names a second picture nowhere", whole[:2] + segment(0xE2, b"MPF\0MM\0*\xff\xff\xff\xff") + whole[2:]
    yield "JPEG with a second JPEG after it", whole + plain()
    yield "JPEG with a video after it", whole + struct.pack(">I", 24) + b"ftypmp42" + bytes(500)
    yield "JPEG with a profile of nonsense", whole[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff" * 3000) + whole[2:]
    yield "JPEG with 255 parts of a profile missing", whole[:2] + segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(100)) + whole[2:]
    yield (
        "JPEG with a Photoshop block of nonsense",
        whole[:2] + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff\xff\xff" * 99) + whole[2:],
    )
