"""Hostile TIFF files, written entry by entry."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.app.hostile.jpegs import DAMAGED, Hostile
from tests.app.photos import encoded, picture

SHORT, LONG, RATIONAL = 3, 4, 5
WIDTH, HEIGHT, BITS, PACKING, COLOUR, OFFSETS, SAMPLES, ROWS, COUNTS = 256, 257, 258, 259, 262, 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, FORMAT, ORIENTATION = 322, 323, 324, 325, 339, 274

Tags = dict[int, tuple[int, int, bytes]]


def short(value: int) -> tuple[int, int, bytes]:
    return SHORT, 1, struct.pack("<H", value)


def long(value: int) -> tuple[int, int, bytes]:
    return LONG, 1, struct.pack("<I", value)


def tiff(changes: Tags | None = None, *, data: bytes = b"\x55" * 1200, following: int = 0, drop: tuple[int, ...] = ()) -> bytes:
    """Grey, 40 × 30, one strip; `changes` replaces entries, `following` is where the next directory is said to be."""
    tags: Tags = {WIDTH: short(40), HEIGHT: short(30), BITS: short(8), PACKING: short(1), COLOUR: short(1), OFFSETS: long(8)}
    tags |= {SAMPLES: short(1), ROWS: short(30), COUNTS: long(len(data)), **(changes or {})}
    kept = sorted((number, entry) for number, entry in tags.items() if number not in drop)
    directory = struct.pack("<H", len(kept))
    for number, (kind, count, value) in kept:
        directory += struct.pack("<HHI", number, kind, count) + value[:4].ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", following)


def files() -> Iterator[Hostile]:
    yield from _cut()
    yield from _wrong_directories()
    yield from _wrong_entries()
    yield from _wrong_pixels()


def _cut() -> Iterator[Hostile]:
    for name, whole in (("plain", tiff()), ("packed", encoded(picture(80, 60), "TIFF", compression="tiff_adobe_deflate"))):
        for part in range(1, 10):
            yield f"{name} TIFF cut at {part}/10", whole[: max(9, len(whole) * part // 10)], DAMAGED


def _wrong_directories() -> Iterator[Hostile]:
    yield "TIFF of a head only", b"II*\0\x08\0\0\0", DAMAGED
    for offset in (0, 4, 7, 2**31, 2**32 - 1):
        yield f"TIFF whose directory is at {offset}", b"II*\0" + struct.pack("<I", offset) + bytes(100), DAMAGED
    yield "TIFF of 65,535 entries", b"II*\0\x08\0\0\0\xff\xff" + bytes(200), DAMAGED
    yield "TIFF of an empty directory", b"II*\0\x08\0\0\0\0\0\0\0\0\0", DAMAGED
    yield "BigTIFF of 2⁶⁴ entries", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**64 - 1) + bytes(100), DAMAGED
    yield "BigTIFF far away", b"MM\0+\0\x08\0\0" + struct.pack(">Q", 2**63), DAMAGED
    for number in (WIDTH, HEIGHT, OFFSETS):
        yield f"TIFF without entry {number}", tiff(drop=(number,)), DAMAGED


def _wrong_entries() -> Iterator[Hostile]:
    for name, tags, code in (
        ("no columns", {WIDTH: short(0)}, DAMAGED),
        ("no rows", {HEIGHT: short(0)}, DAMAGED),
        ("2³¹ columns", {WIDTH: long(2**31)}, "too_many_pixels"),
        ("2³² − 1 by 2³² − 1", {WIDTH: long(2**32 - 1), HEIGHT: long(2**32 - 1)}, "too_many_pixels"),
        ("65,535 bits", {BITS: short(65_535)}, DAMAGED),
        ("no bits", {BITS: short(0)}, DAMAGED),
        ("65,535 samples", {SAMPLES: short(65_535)}, DAMAGED),
        ("a packing that does not exist", {PACKING: short(61_234)}, DAMAGED),
        ("a colour that does not exist", {COLOUR: short(777)}, DAMAGED),
        ("NaN for width", {WIDTH: (11, 1, struct.pack("<f", float("nan")))}, DAMAGED),
        ("infinity for height", {HEIGHT: (11, 1, struct.pack("<f", float("inf")))}, DAMAGED),
        ("0/0 for width", {WIDTH: (RATIONAL, 1, struct.pack("<I", 8))}, DAMAGED),
        ("text for width", {WIDTH: (2, 4, b"abc\0")}, DAMAGED),
        ("a width of 2³² values", {WIDTH: (SHORT, 2**32 - 1, b"\x08\0\0\0")}, DAMAGED),
        ("a type that does not exist", {WIDTH: (99, 1, b"\1\0\0\0")}, DAMAGED),
        ("pixels far behind its end", {OFFSETS: long(2**31)}, DAMAGED),
        ("pixels at 2³² − 1", {OFFSETS: long(2**32 - 1)}, DAMAGED),
        ("2³² strips", {OFFSETS: (LONG, 2**32 - 1, b"\x08\0\0\0")}, DAMAGED),
        ("tiles of 2³¹", {TILE_WIDTH: long(2**31), TILE_HEIGHT: long(2**31), TILE_OFFSETS: long(8), TILE_COUNTS: long(1200)}, DAMAGED),
        ("tiles of nothing", {TILE_WIDTH: long(0), TILE_HEIGHT: long(0), TILE_OFFSETS: long(8), TILE_COUNTS: long(1200)}, DAMAGED),
    ):
        drop = (OFFSETS, COUNTS, ROWS) if TILE_WIDTH in tags else ()
        yield f"TIFF with {name}", tiff(tags, drop=drop), code


def _wrong_pixels() -> Iterator[Hostile]:
    nan = struct.pack("<f", float("nan")) * 1200
    yield "TIFF of NaN", tiff({BITS: short(32), FORMAT: short(3)}, data=nan), "unsupported_format"
    for name, packing in (
        ("LZW", 5),
        ("old JPEG", 6),
        ("JPEG", 7),
        ("deflate", 8),
        ("fax", 4),
        ("LZMA", 34_925),
        ("Zstandard", 50_000),
        ("WebP", 50_001),
    ):
        yield f"TIFF with nonsense for {name}", tiff({PACKING: short(packing)}, data=b"\xff\x00\xa5" * 400), DAMAGED
    yield "TIFF with too few deflated pixels", tiff({PACKING: short(8)}, data=zlib.compress(bytes(100))), DAMAGED
    yield "TIFF with too few plain pixels", tiff({COUNTS: long(1200), OFFSETS: long(1100)}), DAMAGED


def harmless() -> Iterator[tuple[str, bytes]]:
    """Odd, but whole pictures."""
    whole = tiff()
    yield "TIFF whose next directory is its own", tiff(following=8 + 1200)
    yield "TIFF whose next directory is nowhere", tiff(following=2**31)
    yield "TIFF that lies on its side by a number that does not exist", tiff({ORIENTATION: short(99)})
    yield "TIFF with bytes after it", whole + bytes(1000)
    yield "TIFF that unpacks to far more than its pixels", tiff({PACKING: short(8)}, data=zlib.compress(bytes(20_000_000)))
