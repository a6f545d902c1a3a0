"""Photos out of an uploaded zip file, one at a time. Names in it are only text: nothing is ever written under them.

Refused as a whole: an archive that cannot be read, has too many entries, or would unpack to more than is allowed.
Refused by entry: names that lead elsewhere, links, encryption, other packings than deflate, archives in the archive.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from typing import IO

from app.decoding.errors import PhotoRejected
from app.decoding.signatures import ZIP_MAGICS
from app.images.multipart import FileWriter, ReceivedFile, clean_filename

_PIECE_BYTES = 1024 * 1024
_LONGEST_COMMENT = 65_535
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\5\6"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MAGIC = b"PK\6\7"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC = b"PK\6\6"
_UNSAFE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")
_DIRECTORY_BYTES_PER_ENTRY = 512
_UTF8_FLAG = 0x800


@dataclass(frozen=True)
class ArchiveBounds:
    """What an archive may hold: entries, bytes of one entry, bytes of all of them unpacked."""

    max_entries: int
    max_entry_bytes: int
    max_unpacked_bytes: int


@dataclass(frozen=True)
class RefusedEntry:
    """One entry that is not taken, and why."""

    filename: str
    rejection: PhotoRejected


def unpacked(archive: IO[bytes], bounds: ArchiveBounds) -> Generator[ReceivedFile | RefusedEntry, None, None]:
    """The files in the archive, in its order; folders and hidden files are passed over. Raises PhotoRejected for the whole."""
    _require_small_directory(archive, bounds)
    try:
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # a hostile directory makes the parser raise whatever it likes
        raise _bad_archive() from error
    with opened:
        _require_bounds(opened.filelist, bounds)
        for entry in opened.filelist:
            if not _is_passed_over(entry):
                yield _entry(opened, entry, bounds)


def _require_small_directory(archive: IO[bytes], bounds: ArchiveBounds) -> None:
    """Raise PhotoRejected before Python reads a directory of any size into memory."""
    size = archive.seek(0, 2)
    archive.seek(max(0, size - _LONGEST_COMMENT - _END.size - _LOCATOR.size))
    tail = archive.read()
    at = tail.rfind(_END_MAGIC)
    try:
        _, _, _, _, entries, directory_bytes, _, _ = _END.unpack_from(tail, at) if at >= 0 else _END.unpack(b"")
        if at >= _LOCATOR.size and tail[at - _LOCATOR.size : at].startswith(_LOCATOR_MAGIC):
            _, _, offset, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
            just_before = size - len(tail) + at - _LOCATOR.size - _END64.size
            if offset != just_before:  # of two records some versions of Python read the one, some the other
                raise _bad_archive()
            archive.seek(offset)
            magic, *_, entries, directory_bytes, _ = _END64.unpack(archive.read(_END64.size))
            if magic != _END64_MAGIC:
                raise _bad_archive()
    except struct.error as error:
        raise _bad_archive() from error
    if entries > bounds.max_entries or directory_bytes > bounds.max_entries * _DIRECTORY_BYTES_PER_ENTRY:
        raise _too_many(bounds)


def _require_bounds(entries: list[zipfile.ZipInfo], bounds: ArchiveBounds) -> None:
    if len(entries) > bounds.max_entries:
        raise _too_many(bounds)
    if sum(entry.file_size for entry in entries) > bounds.max_unpacked_bytes:
        raise PhotoRejected("archive_bomb", f"The archive unpacks to more than the {bounds.max_unpacked_bytes} bytes that are allowed.")


def _is_passed_over(entry: zipfile.ZipInfo) -> bool:
    # What file managers add: folders, `__MACOSX/…`, `.DS_Store`. (A name that leads elsewhere is told, not passed over.)
    if _UNSAFE.search(entry.orig_filename):
        return False
    return entry.is_dir() or entry.filename.startswith("__MACOSX/") or entry.filename.rsplit("/", 1)[-1].startswith(".")


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, bounds: ArchiveBounds) -> ReceivedFile | RefusedEntry:
    name = clean_filename(_name_of(entry))
    try:
        _require_plain(entry, bounds)
        return _read(archive, entry, name, bounds)
    except PhotoRejected as rejection:
        return RefusedEntry(name, rejection)


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Python reads a name without the UTF-8 flag as code page 437; macOS writes UTF-8 without setting the flag."""
    if entry.flag_bits & _UTF8_FLAG:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _require_plain(entry: zipfile.ZipInfo, bounds: ArchiveBounds) -> None:
    if _UNSAFE.search(entry.orig_filename) or "\0" in entry.orig_filename:
        raise PhotoRejected("unsafe_path", "The entry's name leads out of the archive.")
    if entry.flag_bits & 0x1:
        raise PhotoRejected("encrypted_entry", "The entry is encrypted. Send it without a password.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise PhotoRejected("not_a_file", "The entry is a link or a device, not a file.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise PhotoRejected("unsupported_compression", "The entry is neither stored nor deflated.")
    if entry.file_size > bounds.max_entry_bytes:
        raise PhotoRejected("file_too_large", f"The file has {entry.file_size} bytes; at most {bounds.max_entry_bytes} are taken.")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, bounds: ArchiveBounds) -> ReceivedFile:
    writer = FileWriter(name, bounds.max_entry_bytes)
    try:
        with archive.open(entry) as packed:
            piece = packed.read(_PIECE_BYTES)
            if piece.startswith(ZIP_MAGICS):
                raise PhotoRejected("nested_archive", "The entry is an archive itself. Send its photos directly.")
            while piece:
                writer.write(piece)
                piece = packed.read(_PIECE_BYTES)
    except PhotoRejected:
        writer.abandon()
        raise
    except OSError:  # the disk, not the archive
        writer.abandon()
        raise
    except Exception as error:  # a wrong checksum, broken deflate data, overlapping entries …
        writer.abandon()
        raise PhotoRejected("damaged_entry", "The entry cannot be unpacked.") from error
    return writer.finish()


def _too_many(bounds: ArchiveBounds) -> PhotoRejected:
    return PhotoRejected("too_many_files", f"The archive holds more than the {bounds.max_entries} files that a request takes.")


def _bad_archive() -> PhotoRejected:
    return PhotoRejected("bad_archive", "The zip file is damaged or cut off.")
