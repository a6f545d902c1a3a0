"""What is no photo, whatever its name says, and what is a photo and something else."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

from tests.app.hostile.containers import heic
from tests.app.hostile.jpegs import Hostile, plain, segment
from tests.app.hostile.pngs import chunk, png, with_extra
from tests.app.hostile.tiffs import tiff
from tests.app.photos import encoded, picture

NO_IMAGE = "not_an_image"
FOREIGN = "unsupported_format"
PAGE = b"<!DOCTYPE html><html><script>alert(document.cookie)</script></html>"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as opened:
        opened.writestr("evil.sh", "rm -rf /")
    return target.getvalue()


def files() -> Iterator[Hostile]:
    yield from _nothing_like_it()
    yield from _other_pictures()
    yield from _two_at_once()


def _nothing_like_it() -> Iterator[Hostile]:
    laughs = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "lol">' + b'<!ENTITY b "&a;&a;&a;&a;">' * 20 + b"]><l>&b;</l>"
    yield "nothing", b"", "zero_bytes"
    for name, data in {
        "one byte": b"\xff",
        "half a JPEG head": b"\xff\xd8",
        "half a PNG head": b"\x89PNG\r\n",
        "zeros": bytes(5000),
        "spaces": b" " * 5000,
        "text": b"I am only called a picture.",
        "a page": PAGE,
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "SVG with a prologue": b'<?xml version="1.0"?><svg><image href="file:///etc/passwd"/></svg>',
        "a billion laughs": laughs,
        "PDF": PDF,
        "PDF with a JPEG in it": PDF + plain(),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "EPS with a binary head": b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS",
        "ImageMagick's MVG": b"push graphic-context\nfill 'url(https://x/;|id)'\npop graphic-context",
        "MSL": b'<image><read filename="caption:hello"/></image>',
        "a program of Linux": b"\x7fELF\x02\x01\x01" + bytes(500),
        "a program of Windows": b"MZ\x90\0" + bytes(500),
        "a script": b"#!/bin/sh\nid\n",
        "PHP": b"<?php system($_GET['c']); ?>",
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
        "RAR": b"Rar!\x1a\x07\x01\0" + bytes(100),
        "tar": b"a.jpg".ljust(257, b"\0") + b"ustar\x0000" + bytes(300),
        "a pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        "MP4": struct.pack(">I", 24) + b"ftypisom\0\0\0\0isommp42" + bytes(100),
        "MP3": b"ID3\x04" + bytes(100),
        "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
        "AVI": b"RIFF\x24\0\0\0AVI LIST" + bytes(100),
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(100),
        "EMF": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(100),
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "XBM": b"#define a_width 9\n#define a_height 9\nstatic char a_bits[] = {0};",
        "XPM": b'/* XPM */\nstatic char *a[] = {"1 1 1 1", "a c red", "a"};',
        "a JPEG after one byte": b"\0" + plain(),
        "a JPEG after a page": PAGE + plain(),
        "a PNG after a comment": b"/*" + with_extra(),
        "a JPEG in base64": b"data:image/jpeg;base64,/9j/4AAQSkZJRg==",
        "a JPEG by transfer by text": plain().replace(b"\xff", b"\xef\xbf\xbd"),
        "a PNG by transfer by text": with_extra().replace(b"\r\n", b"\n"),
    }.items():
        yield name, data, NO_IMAGE


def _other_pictures() -> Iterator[Hostile]:
    gif = encoded(picture(8, 8), "GIF")
    for name, data in {
        "GIF": gif,
        "GIF with a page in it": gif + PAGE,
        "GIF of 65,535 × 65,535": b"GIF89a\xff\xff\xff\xff\0\0\0;",
        "GIF and JavaScript": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "BMP": encoded(picture(8, 8), "BMP"),
        "BMP of 2³¹ pixels": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**31 - 1, 1, 1, 1, 0) + bytes(100),
        "ICO": encoded(picture(16, 16), "ICO"),
        "ICO of 65,535 pictures": b"\0\0\1\0\xff\xff" + bytes(100),
        "PNM": b"P6\n999999999 999999999\n255\n",
        "PPM": encoded(picture(8, 8), "PPM"),
        "Photoshop": b"8BPS\0\1" + bytes(20) + b"\xff" * 100,
        "DDS": b"DDS " + b"\xff" * 124,
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff" * 100,
        "JPEG 2000 code stream": b"\xff\x4f\xff\x51" + b"\xff" * 100,
        "JPEG XL": b"\xff\x0a" + bytes(100),
        "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
        "AVIF": struct.pack(">I", 24) + b"ftypavif\0\0\0\0avifmif1" + bytes(100),
        "AVIF film": struct.pack(">I", 24) + b"ftypavis\0\0\0\0avismif1" + bytes(100),
        "QOI": b"qoif" + b"\xff" * 10,
    }.items():
        yield name, data, FOREIGN


def _two_at_once() -> Iterator[Hostile]:
    photos = {"JPEG": plain(), "PNG": with_extra(), "WebP": encoded(picture(40, 30), "WEBP"), "TIFF": tiff(), "HEIC": heic()}
    for name, photo in photos.items():
        yield f"{name} and a zip file", photo + archive(), "polyglot"
        if name != "TIFF":
            # To an HEIC reader what follows is one more box, and a damaged one.
            code = "truncated_image" if name == "HEIC" else "polyglot"
            yield f"{name} and a page", photo + PAGE, code
            yield f"{name} and a PDF", photo + PDF, code
    whole = plain()
    for name, text in {"a page": PAGE, "PHP": b"<?php system('id');", "a PDF": PDF, "SVG": b"<svg onload=alert(1)>"}.items():
        yield f"JPEG with {name} in its comment", whole[:2] + segment(0xFE, text) + whole[2:], "polyglot"
        yield f"PNG with {name} in its text", with_extra((b"tEXt", b"Comment\0" + text)), "polyglot"
    yield "JPEG and a program", whole + b"\x7fELF\x02\x01\x01" + bytes(200), "polyglot"
    yield "PNG and a program of Windows", png((b"IHDR", b"")) and with_extra() + b"MZ" + bytes(200), "polyglot"
    yield "PNG and another end", with_extra() + b"<script>" + chunk(b"IEND"), "polyglot"
    yield "TIFF with a page for pixels", tiff(data=PAGE.ljust(1200, b" ")), "polyglot"
