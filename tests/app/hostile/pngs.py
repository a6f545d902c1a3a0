"""Hostile PNG files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.app.hostile.jpegs import DAMAGED, Hostile
from tests.app.photos import encoded, picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(
    width: int = 40, height: int = 30, depth: int = 8, colour: int = 2, packing: int = 0, filtering: int = 0, lacing: int = 0
) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, packing, filtering, lacing)


def pixels(width: int = 40, height: int = 30) -> bytes:
    return zlib.compress((b"\0" + b"\x55" * (3 * width)) * height)


def png(*chunks: Chunk) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in chunks)


def with_extra(*extra: Chunk) -> bytes:
    return png((b"IHDR", header()), *extra, (b"IDAT", pixels()), (b"IEND", b""))


def files() -> Iterator[Hostile]:
    yield from _cut()
    yield from _wrong_headers()
    yield from _wrong_chunks()
    yield from _bombs()


def _cut() -> Iterator[Hostile]:
    whole = encoded(picture(80, 60, seed=3), "PNG", dpi=(72, 72))
    position, index = len(SIGNATURE), 0
    while position < len(whole):
        end = position + 12 + struct.unpack_from(">I", whole, position)[0]
        name = whole[position + 4 : position + 8].decode()
        for place, at in (
            ("before", position),
            ("in the length of", position + 2),
            ("in the name of", position + 6),
            ("in", (position + end) // 2),
        ):
            yield f"PNG cut {place} chunk {index} {name}", whole[:at], DAMAGED
        yield f"PNG with a wrong checksum of {name}", whole[: end - 1] + bytes((whole[end - 1] ^ 1,)) + whole[end:], DAMAGED
        yield f"PNG with chunk {name} of 4 GB", whole[:position] + b"\xff\xff\xff\xff" + whole[position + 4 :], DAMAGED
        position, index = end, index + 1


def _wrong_headers() -> Iterator[Hostile]:
    def of(head: bytes) -> bytes:
        return png((b"IHDR", head), (b"IDAT", pixels()), (b"IEND", b""))

    yield "PNG without columns", of(header(0, 30)), DAMAGED
    yield "PNG without rows", of(header(40, 0)), DAMAGED
    yield "PNG without either", of(header(0, 0)), DAMAGED
    yield "PNG of 2³¹ − 1 columns", of(header(2**31 - 1, 1)), "too_many_pixels"
    yield "PNG of 2³² − 1 × 2³² − 1", of(header(2**32 - 1, 2**32 - 1)), "too_many_pixels"
    yield "PNG of one pixel too many", of(header(10_000_001, 1)), "too_many_pixels"
    yield "PNG of 3 bits", of(header(depth=3)), DAMAGED
    yield "PNG of 255 bits", of(header(depth=255)), DAMAGED
    yield "PNG of colour type 5", of(header(colour=5)), DAMAGED
    yield "PNG of another filter", of(header(filtering=9)), DAMAGED
    yield "PNG with a header of 5 bytes", of(b"\0\0\0\1\0"), DAMAGED
    yield "PNG with an empty header", of(b""), DAMAGED


def _wrong_chunks() -> Iterator[Hostile]:
    yield "PNG of a signature only", SIGNATURE, DAMAGED
    yield "PNG without header", png((b"IDAT", pixels()), (b"IEND", b"")), DAMAGED
    yield "PNG without pixels", png((b"IHDR", header()), (b"IEND", b"")), DAMAGED
    yield "PNG without end", png((b"IHDR", header()), (b"IDAT", pixels())), DAMAGED
    yield "PNG of an end only", png((b"IEND", b"")), DAMAGED
    yield "PNG with nonsense for pixels", png((b"IHDR", header()), (b"IDAT", b"nonsense"), (b"IEND", b"")), DAMAGED
    yield "PNG with too few pixels", png((b"IHDR", header()), (b"IDAT", pixels(40, 29)), (b"IEND", b"")), DAMAGED
    yield (
        "PNG with a filter that does not exist",
        png((b"IHDR", header()), (b"IDAT", zlib.compress(b"\x63" * 121 * 30)), (b"IEND", b"")),
        DAMAGED,
    )
    yield "PNG with a name of control letters", png((b"IHDR", header()), (b"\0\1\2\3", b""), (b"IDAT", pixels()), (b"IEND", b"")), DAMAGED
    yield "PNG of 150,000 chunks", with_extra(*[(b"teSt", b"")] * 150_000), "too_complex"


def _bombs() -> Iterator[Hostile]:
    bomb = zlib.compress(bytes(30_000_000), 9)
    yield "PNG with a profile that unpacks to 30 MB", with_extra((b"iCCP", b"icc\0\0" + bomb)), "decompression_bomb"
    yield "PNG with a packed text of 30 MB", with_extra((b"zTXt", b"text\0\0" + bomb)), "decompression_bomb"
    yield "PNG with an international text of 30 MB", with_extra((b"iTXt", b"text\0\1\0\0\0" + bomb)), "decompression_bomb"
    million = zlib.compress(bytes(1_000_000), 9)
    yield "PNG with a hundred texts of a megabyte", with_extra(*[(b"zTXt", b"text\0\0" + million)] * 100), "decompression_bomb"
    few = zlib.compress(bytes(1_000_000), 9)
    yield "PNG of gigapixels in a kilobyte", png((b"IHDR", header(60_000, 60_000, 1, 0)), (b"IDAT", few), (b"IEND", b"")), "too_many_pixels"


def harmless() -> Iterator[tuple[str, bytes]]:
    """Odd, but whole photos."""
    frames = [(b"fcTL", struct.pack(">IIIIIHHBB", index, 40, 30, 0, 0, 1, 1, 0, 0)) for index in range(5000)]
    yield "APNG of 5,000 frames", with_extra((b"acTL", struct.pack(">II", 5000, 0)), *frames)
    yield "APNG that claims 2³¹ frames", with_extra((b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield "PNG of a packing that does not exist", png((b"IHDR", header(packing=1)), (b"IDAT", pixels()), (b"IEND", b""))
    yield "PNG with nonsense for EXIF", with_extra((b"eXIf", b"\xff" * 5000))
    yield "PNG with a profile of nonsense", with_extra((b"iCCP", b"icc\0\0" + zlib.compress(b"\xff" * 5000)))
    yield (
        "PNG that unpacks to far more than its pixels",
        png((b"IHDR", header()), (b"IDAT", zlib.compress(bytes(20_000_000), 9)), (b"IEND", b"")),
    )
