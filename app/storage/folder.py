"""Blobs in a local folder: written among the unfinished ones, fsynced, renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_CHUNK_BYTES = 1024 * 1024
# One flat folder: what killed processes leave is found without a walk through every user's blobs.
_UNFINISHED = ".unfinished"
_LONGEST_NAME = 200


class Folder:
    """The blobs below one folder; it is made with the first of them."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._unfinished_folder = self._root / _UNFINISHED

    def put(self, path: str, source: IO[bytes]) -> None:
        """See `Blobs`."""
        temporary = self._unfinished_folder / f"{self._flat(path)}.{secrets.token_hex(8)}"
        with _whole_or_absent(Path(path), temporary) as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)

    def read(self, path: str) -> bytes:
        """See `Blobs`."""
        return Path(path).read_bytes()

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """See `Blobs`."""
        with Path(path).open("rb") as stream:
            yield stream

    def move(self, source: str, target: str) -> None:
        """At once; see `Blobs`."""
        if not Path(source).is_file():
            raise FileNotFoundError(source)
        folder, destination = Path(source).parent, Path(target)
        _make_folder(destination.parent)
        Path(source).replace(destination)
        _sync_folder(folder)
        _sync_folder(destination.parent)

    def exists(self, path: str) -> bool:
        """See `Blobs`."""
        return Path(path).is_file()

    def modified(self, path: str) -> float:
        """See `Blobs`."""
        return Path(path).stat().st_mtime

    def delete(self, path: str) -> None:
        """See `Blobs`."""
        Path(path).unlink(missing_ok=True)

    def delete_all(self, paths: list[str]) -> None:
        """See `Blobs`."""
        for path in paths:
            self.delete(path)

    def folders(self, path: str) -> Iterator[str]:
        """See `Blobs`; a folder may be empty."""
        with suppress(FileNotFoundError):
            yield from (entry.name for entry in Path(path).iterdir() if entry.is_dir())

    def find(self, path: str) -> list[str]:
        """See `Blobs`."""
        return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]  # noqa: PTH118 - many thousand

    def delete_below(self, path: str) -> int:
        """See `Blobs`."""
        for rest in self._unfinished(f"{self._flat(path)}!"):
            rest.unlink(missing_ok=True)
        count = len(self.find(path))
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        return count

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """See `Blobs`."""
        oldest = time.time() - older_than_seconds
        removed = 0
        for rest in self._unfinished(""):
            with suppress(FileNotFoundError):
                if rest.stat().st_mtime <= oldest:
                    rest.unlink()
                    removed += 1
        return removed

    def signed_url(self, _path: str, _seconds: int, _media_type: str, _disposition: str) -> str | None:
        """None: a folder has no address of its own."""
        return None

    def _unfinished(self, start: str) -> list[Path]:
        if not self._unfinished_folder.is_dir():
            return []
        return [path for path in self._unfinished_folder.iterdir() if path.name.startswith(start)]

    def _flat(self, path: str) -> str:
        return str(Path(path).relative_to(self._root)).replace("/", "!")[:_LONGEST_NAME]


@contextmanager
def _whole_or_absent(path: Path, temporary: Path) -> Iterator[IO[bytes]]:
    for folder in (path.parent, temporary.parent):
        _make_folder(folder)
    try:
        with temporary.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """With its parents; each new one is on the disk before anything is put into it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can forget the rename although the bytes are on the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
