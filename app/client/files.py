"""The caller's files: which of a folder are photos, and how a stream of them is cut into requests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.client.documents import UploadResult
from app.decoding.signatures import ZIP_MAGICS

BATCH_FILES = 16
BATCH_BYTES = 64 * 1024 * 1024
"""An upload request carries at most so many files and bytes (a single larger file goes alone)."""

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".heic", ".heif", ".hif", ".tif", ".tiff"}
    | {".gif", ".bmp", ".avif", ".jp2", ".dng", ".cr2", ".nef", ".arw"}
)
"""What looks like an image in a folder; also kinds that the service does not take, which are to be listed, not skipped."""


def photo_paths(source: str | Path | Iterable[str | Path]) -> Iterator[Path]:
    """The photos of a folder (nested, by name, hidden ones left out), the one file, or the paths of an iterable, lazily.

    A folder below that cannot be listed comes in the place of its photos, so that it is told like a file that cannot be read.
    Links to photos are followed, links to folders are not.
    """
    if not isinstance(source, str | Path):
        yield from map(Path, source)
    elif Path(source).is_dir():
        yield from photos_below(Path(source))
    else:
        yield Path(source)


def folder_of(source: str | Path | Iterable[str | Path]) -> Path | None:
    """The folder whose photos `photo_paths` gives; None where the source is none."""
    return Path(source) if isinstance(source, str | Path) and Path(source).is_dir() else None


def photos_below(folder: Path, *, leave_out: Path | None = None) -> Iterator[Path]:
    """The photos of a folder, as `photo_paths`; nothing of the folder `leave_out` (resolved). Last come folders that cannot be listed."""
    closed: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if leave_out is not None:
            folders[:] = [name for name in folders if Path(parent, name).resolve() != leave_out]
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES:
                yield Path(parent, name)
    yield from closed


def batches(paths: Iterable[Path], most_files: int = BATCH_FILES, most_bytes: int = BATCH_BYTES) -> Iterator[list[Path]]:
    """Cut the stream of paths into batches under both bounds; a file above `most_bytes`, and every zip, is a batch of its own."""
    batch: list[Path] = []
    batch_bytes = 0
    for path in paths:
        size = most_bytes if is_zip(path) else byte_size(path)
        if batch and (len(batch) >= most_files or batch_bytes + size > most_bytes):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(path)
        batch_bytes += size
    if batch:
        yield batch


def is_zip(path: Path) -> bool:
    """Whether the service takes it as a zip of photos: by its first bytes, as there, whatever its name."""
    return _head(path, len(ZIP_MAGICS[0])) in ZIP_MAGICS


def byte_size(path: Path) -> int:
    """Bytes of the file; 0 where it cannot be asked."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sent_name(path: Path, root: Path | None = None) -> str:
    """The file's path below `root`, with `/`, as text; its name alone where there is no root or it lies elsewhere.

    Bytes that are no UTF-8, which Linux allows in names, become U+FFFD.
    """
    name = path.relative_to(root).as_posix() if root is not None and root in path.parents else path.name
    return os.fsencode(name).decode("utf-8", "replace")


def sha256_of(path: Path) -> str:
    """64 hex digits of the file's content; "" where it cannot be read or is no regular file."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def is_readable(path: Path) -> bool:
    """Whether it is a regular file (or leads to one) that can be opened and read: a pipe would be waited for for ever."""
    return _head(path, 1) is not None


def _head(path: Path, count: int) -> bytes | None:
    """The file's first bytes; None where it cannot be read or is no regular file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return None


def unreadable(path: Path) -> UploadResult:
    """The result of a file that this computer does not give."""
    return UploadResult(path, "rejected", code="unreadable_file", reason=f"{path} cannot be read on this computer.")
