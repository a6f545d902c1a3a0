"""Zip files: their photos are stored, and what is hostile in them has its code."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from unittest.mock import patch

import pytest
from fastapi import FastAPI

from app.decoding.errors import PhotoRejected
from app.images.archives import ArchiveBounds, unpacked
from tests.app.conftest import Caller
from tests.app.photos import jpeg

Entry = tuple[str | zipfile.ZipInfo, bytes]


def zipped(*entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data in entries:
            archive.writestr(name, data)
    return target.getvalue()


def link(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    return entry


def encrypted(data: bytes) -> bytes:
    """The same archive, each entry marked as encrypted."""
    return flagged(data, lambda flags: flags | 0x1)


def flagged(data: bytes, change: Callable[[int], int]) -> bytes:
    """The same archive with other flags (16 bits) in both headers of each entry."""
    marked = bytearray(data)
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = marked.find(magic)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", marked, at + offset)
            struct.pack_into("<H", marked, at + offset, change(flags))
            at = marked.find(magic, at + 1)
    return bytes(marked)


def claiming(data: bytes, *, size: int) -> bytes:
    """The same archive, its first entry claiming to unpack to so many bytes."""
    marked = bytearray(data)
    at = marked.find(b"PK\1\2")
    struct.pack_into("<L", marked, at + 24, size)
    return bytes(marked)


def test_its_photos_are_stored_one_result_each(alice: Caller) -> None:
    archive = zipped(
        ("trip/a.jpg", jpeg(seed=1)), ("trip/", b""), ("__MACOSX/trip/._a.jpg", b"x"), ("trip/b.txt", b"text"), ("c", jpeg(seed=2))
    )
    results = alice.upload([("first.jpg", jpeg(seed=3)), ("album.zip", archive), ("last.jpg", jpeg(seed=1))])
    told = [(entry["filename"], entry["status"], entry["code"]) for entry in results]
    assert told == [
        ("first.jpg", "stored", None),
        ("trip/a.jpg", "stored", None),
        ("trip/b.txt", "rejected", "not_an_image"),
        ("c", "stored", None),
        ("last.jpg", "duplicate", None),
    ]


def test_names_in_utf8_without_the_flag_are_understood(alice: Caller) -> None:
    # macOS writes them so; as code page 437, which the format says, they would be Gr├╝n
    archive = zipped(("Grün.jpg", jpeg(seed=1)), ("plain.jpg", jpeg(seed=2)))
    unmarked = flagged(archive, lambda flags: flags & ~0x800)
    assert [entry["filename"] for entry in alice.upload([("album.zip", unmarked)])] == ["Grün.jpg", "plain.jpg"]
    dos = unmarked.replace("Grün".encode(), b"Gr\x81n\xfe")  # ü in code page 437, and no UTF-8
    assert str(alice.upload([("dos.zip", dos)])[0]["filename"]).startswith("Grün")


def test_the_whole_body_may_be_one(alice: Caller) -> None:
    answer = alice("POST", "images", headers={"content-type": "application/zip"}, content=zipped(("a.jpg", jpeg())))
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    answer = alice("POST", "images", headers={"content-type": "application/zip"}, content=b"no zip")
    assert answer.json()["results"][0]["code"] == "not_an_image"


HOSTILE_ENTRIES: dict[str, tuple[bytes, str]] = {
    "slip": (zipped(("../../../etc/cron.d/x", jpeg())), "unsafe_path"),
    "absolute": (zipped(("/etc/passwd", jpeg())), "unsafe_path"),
    "backslash": (zipped(("..\\..\\x.jpg", jpeg())), "unsafe_path"),
    "drive": (zipped(("C:\\x.jpg", jpeg())), "unsafe_path"),
    "middle": (zipped(("a/../../x.jpg", jpeg())), "unsafe_path"),
    "symlink": (zipped((link("a.jpg", stat.S_IFLNK), b"/etc/passwd")), "not_a_file"),
    "device": (zipped((link("a.jpg", stat.S_IFCHR), b"")), "not_a_file"),
    "fifo": (zipped((link("a.jpg", stat.S_IFIFO), b"")), "not_a_file"),
    "encrypted": (encrypted(zipped(("a.jpg", jpeg()))), "encrypted_entry"),
    "nested": (zipped(("inner.zip", zipped(("a.jpg", jpeg())))), "nested_archive"),
    "lzma": (zipped(("a.jpg", jpeg()), compression=zipfile.ZIP_LZMA), "unsupported_compression"),
    "bzip2": (zipped(("a.jpg", jpeg()), compression=zipfile.ZIP_BZIP2), "unsupported_compression"),
    "too large": (zipped(("a.jpg", bytes(3_000_000))), "file_too_large"),
    "bomb": (zipped(*((f"{index}", bytes(1_900_000)) for index in range(12))), "archive_bomb"),
    "claims much": (claiming(zipped(("a.jpg", jpeg())), size=2**32 - 2), "archive_bomb"),
    "claims little": (claiming(zipped(("a.jpg", jpeg())), size=10), "damaged_entry"),
    "too many": (zipped(*((f"{index}", b"x") for index in range(60))), "too_many_files"),
    "cut off": (zipped(("a.jpg", jpeg()))[:-30], "bad_archive"),
    "only a head": (b"PK\3\4" + bytes(100), "bad_archive"),
    "folders only": (zipped(("a/", b""), ("a/b/", b"")), "empty_archive"),
    "a directory of gigabytes": (zipped(("a", b"x"))[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**31, 0, 0), "too_many_files"),
    "nothing": (zipped(), "empty_archive"),
    "no photo": (zipped(("a.jpg", b"")), "zero_bytes"),
}


@pytest.fixture
def bounded(api: FastAPI, alice: Caller) -> Caller:
    """Alice, at a service that takes 50 files, and zip files of up to 20 MB."""
    wiring = api.state.wiring
    settings = wiring.settings.model_copy(update={"max_batch_files": 50, "max_archive_bytes": 20_000_000})
    object.__setattr__(wiring, "settings", settings)
    return alice


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_each_trick_has_its_code_and_nothing_is_stored(bounded: Caller, name: str) -> None:
    data, code = HOSTILE_ENTRIES[name]
    results = bounded.upload([("a.zip", data), ("good.jpg", jpeg(seed=5))])
    assert {entry["code"] for entry in results[:-1]} == {code}
    assert results[-1]["status"] == "stored"
    assert len(bounded("GET", "images").json()["items"]) == 1


def test_damage_spoils_its_entry_only(alice: Caller) -> None:
    data = bytearray(zipped(("a.jpg", jpeg(seed=1)), ("b.jpg", jpeg(seed=2)), compression=zipfile.ZIP_STORED))
    data[data.index(b"\xff\xd8") + 200] ^= 0xFF
    assert [entry["code"] or entry["status"] for entry in alice.upload([("a.zip", bytes(data))])] == ["damaged_entry", "stored"]


def test_an_archive_past_its_bound_is_refused_as_one(bounded: Caller) -> None:
    data = zipped(*((f"{index}", jpeg(seed=index)) for index in range(3)), compression=zipfile.ZIP_STORED) + bytes(20_000_000)
    (result,) = bounded.upload([("a.zip", data)])
    assert (result["filename"], result["code"]) == ("a.zip", "file_too_large")


def test_a_zip64_directory_is_counted_before_it_is_read() -> None:
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**9, 10**9, 46 * 10**9, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 4, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with pytest.raises(Exception, match="more than the 50 files"):
        next(unpacked(io.BytesIO(b"PK\3\4" + end64 + locator + end), ArchiveBounds(50, 10**6, 10**7)))


def test_the_directory_that_is_counted_is_the_one_that_is_read() -> None:
    """A zip64 directory is found in two ways: by its offset, and right before its locator."""
    record: Callable[[int], bytes] = lambda count: struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, 47 * count, 4)  # noqa: E731
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    for read_by_offset, read_in_place in ((1, 10_000), (10_000, 1)):
        body = b"PK\3\4" + record(read_by_offset) + entry * 10_000 + record(read_in_place)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, 4, 1)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        with patch("zipfile.ZipFile", side_effect=AssertionError("read")), pytest.raises(PhotoRejected) as refused:
            next(unpacked(io.BytesIO(body + locator + end), ArchiveBounds(50, 10**6, 10**7)))
        assert refused.value.code == "bad_archive"


def test_without_end_the_refusals_stop(bounded: Caller) -> None:
    files: Callable[[int], list[tuple[str, tuple[str, bytes]]]] = lambda count: [("files", (f"{index}", b"x")) for index in range(count)]  # noqa: E731
    assert {entry["code"] for entry in bounded("POST", "images", files=files(100)).json()["results"][50:]} == {"too_many_files"}
    answer = bounded("POST", "images", files=files(101))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_files")


def test_the_whole_body_is_bounded(api: FastAPI, alice: Caller) -> None:
    wiring = api.state.wiring
    object.__setattr__(wiring, "settings", wiring.settings.model_copy(update={"max_upload_bytes": 10_000}))
    answer = alice("POST", "images", files=[("files", ("a", bytes(20_000)))])
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    pieces = (bytes(1000) for _ in range(50))
    body = (part for part in (b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n', *pieces))
    answer = alice("POST", "images", headers={"content-type": "multipart/form-data; boundary=b"}, content=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
