"""Hostile WebP and HEIC files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pillow_heif
from PIL import Image

from tests.app.hostile.jpegs import DAMAGED, Hostile
from tests.app.photos import encoded, picture


def riff(*chunks: tuple[bytes, bytes], claims: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) if claims is None else claims) + body


def box(kind: bytes, body: bytes = b"", *, claims: int | None = None) -> bytes:
    return struct.pack(">I", len(body) + 8 if claims is None else claims) + kind + body


FTYP = box(b"ftyp", b"heic\0\0\0\0mif1heic")


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return encoded(picture(80, 60, seed=3), "HEIF")


def files() -> Iterator[Hostile]:
    yield from _webp()
    yield from _cut_heic()
    yield from _heic()


def _webp() -> Iterator[Hostile]:
    for name, whole in (
        ("lossy", encoded(picture(80, 60, seed=3), "WEBP")),
        ("lossless", encoded(picture(80, 60, seed=3), "WEBP", lossless=True)),
    ):
        for part in range(1, 8):
            yield f"{name} WebP cut at {part}/8", whole[: max(16, len(whole) * part // 8)], DAMAGED
        yield f"{name} WebP without its last bytes", whole[:-2], DAMAGED
        yield f"{name} WebP of nonsense", whole[:20] + b"\xa5" * (len(whole) - 20), DAMAGED
    yield "WebP of a head only", b"RIFF\x04\0\0\0WEBP", DAMAGED
    yield "WebP that claims 4 GB", riff((b"VP8 ", bytes(100)), claims=2**32 - 1), DAMAGED
    yield "WebP of zeros", riff((b"VP8 ", bytes(100))), DAMAGED
    yield "WebP with a chunk that claims 4 GB", riff((b"VP8L", b"\x2f" + bytes(50)))[:16] + b"\xff\xff\xff\xff" + bytes(51), DAMAGED
    canvas = (2**24 - 1).to_bytes(3, "little")
    yield "WebP of a canvas of 2⁴⁸ pixels", riff((b"VP8X", b"\x10\0\0\0" + canvas + canvas), (b"VP8 ", bytes(10))), DAMAGED
    yield "WebP of a canvas without a picture", riff((b"VP8X", b"\0\0\0\0\x27\0\0\x1d\0\0")), DAMAGED
    yield "WebP, animated, without frames", riff((b"VP8X", b"\x02\0\0\0\x27\0\0\x1d\0\0"), (b"ANIM", bytes(6))), DAMAGED
    yield (
        "WebP of 12 million pixels in some bytes",
        encoded(Image.new("RGB", (4000, 3000)), "WEBP", lossless=True, method=0),
        "too_many_pixels",
    )
    yield "WebP of 16,384 × 16,384", riff((b"VP8L", b"\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little") + bytes(200))), DAMAGED


def _cut_heic() -> Iterator[Hostile]:
    whole = heic()
    position = 0
    while position < len(whole):
        size = struct.unpack_from(">I", whole, position)[0]
        name = whole[position + 4 : position + 8].decode()
        for place, at in (("in the head of", position + 6), ("in", position + size // 2), ("at the end of", position + size - 1)):
            yield f"HEIC cut {place} {name}", whole[: max(at, 13)], DAMAGED
        position += size
    for part in range(1, 10):
        yield f"HEIC cut at {part}/10", whole[: len(whole) * part // 10], DAMAGED


def _heic() -> Iterator[Hostile]:
    whole = heic()
    yield "HEIC of a head only", FTYP, DAMAGED
    yield "HEIC of nonsense", FTYP + b"\xa5" * 5000, DAMAGED
    yield "HEIC with an empty meta box", FTYP + box(b"meta", bytes(4)) + box(b"mdat", bytes(100)), DAMAGED
    yield "HEIC with a box of 2³² − 1", FTYP + box(b"meta", bytes(50), claims=2**32 - 1), DAMAGED
    yield "HEIC with a box of 2⁶⁴ − 1", FTYP + struct.pack(">I4sQ", 1, b"meta", 2**64 - 1) + bytes(50), DAMAGED
    yield "HEIC with a box of 3 bytes", FTYP + box(b"meta", bytes(50), claims=3), DAMAGED
    nested = b""
    for _ in range(2000):
        nested = box(b"meta", bytes(4) + nested)
    yield "HEIC of boxes in boxes", FTYP + nested, DAMAGED
    yield (
        "HEIC with nonsense for its picture",
        whole[: whole.index(b"mdat") + 4] + b"\xa5" * (len(whole) - whole.index(b"mdat") - 4),
        DAMAGED,
    )
    yield "HEIC without its picture", whole[: whole.index(b"mdat") - 4], DAMAGED
    at = whole.index(b"ispe")
    yield "HEIC without size", whole[: at + 8] + bytes(8) + whole[at + 16 :], DAMAGED
    yield "HEIC of 2³² − 1 by 2³² − 1", whole[: at + 8] + b"\xff" * 8 + whole[at + 16 :], DAMAGED
    place = whole.index(b"iloc")
    yield "HEIC whose picture is nowhere", whole[: place + 8] + b"\xff" * 24 + whole[place + 32 :], DAMAGED


def harmless() -> Iterator[tuple[str, bytes]]:
    """Odd, but whole photos."""
    yield "WebP with nonsense for EXIF", encoded(picture(80, 60), "WEBP", exif=b"Exif\0\0" + b"\xff" * 3000)
    frames = [picture(40, 30, seed=seed) for seed in range(300)]
    yield "WebP of 300 frames", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)
    yield "HEIC with bytes after it", heic() + bytes(500)
    yield "HEIC that does not tell its size", heic().replace(b"ispe", b"free", 1)
