"""Blobs over fsspec: a local folder by default, an object store by setting.

A blob is whole or absent: on a local disk it is written in the folder of unfinished files, fsynced and renamed.
The keys of one user all start with `users/{user_id}/`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.errors import BlobNotFound
from app.tenancy import require_key

_CHUNK_BYTES = 1024 * 1024
# One flat folder: what killed processes leave is found without a walk through every user's blobs.
_UNFINISHED = ".unfinished"
_LONGEST_NAME = 200


def user_prefix(user_id: str) -> str:
    """Where everything of one user lies."""
    return f"users/{user_id}"


def photo_key(user_id: str, sha256: str) -> str:
    """An original, as it was uploaded."""
    return f"{user_prefix(user_id)}/photos/{sha256}"


def model_key(user_id: str, version: int, sha256: str) -> str:
    """A personal model's safetensors file."""
    return f"{user_prefix(user_id)}/models/{version}-{sha256}.safetensors"


def checkpoints_prefix(user_id: str, job_id: str) -> str:
    """Where an adaptation's checkpoints lie while it goes on."""
    return f"{user_prefix(user_id)}/checkpoints/{job_id}"


def checkpoint_key(user_id: str, job_id: str, token: int) -> str:
    """The checkpoint that the holder of this fencing token writes; keys sort as tokens do."""
    return f"{checkpoints_prefix(user_id, job_id)}/{token:08d}.safetensors"


def masks_prefix(user_id: str, image_id: str) -> str:
    """Where every mask of one photo lies."""
    return f"{user_prefix(user_id)}/masks/{image_id}"


def labels_key(user_id: str, image_id: str, base: str, version: int) -> str:
    """A mask: palette PNG of the photo's own upright size."""
    return f"{masks_prefix(user_id, image_id)}/{base}-v{version}.labels.png"


def confidence_key(user_id: str, image_id: str, base: str, version: int) -> str:
    """A mask's confidence: 8-bit grey PNG, 255 = certain."""
    return f"{masks_prefix(user_id, image_id)}/{base}-v{version}.confidence.png"


class Storage:
    """The blob store behind one fsspec URL."""

    def __init__(self, url: str) -> None:
        filesystem, root = fsspec.core.url_to_fs(url)
        self._filesystem = filesystem
        self._root = str(root).rstrip("/")
        self._is_local = isinstance(filesystem, LocalFileSystem)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store these bytes under `key`, replacing what was there."""
        with self._writing(key) as target:
            target.write(data)

    def put_stream(self, key: str, source: IO[bytes]) -> None:
        """Store a file's bytes, from its beginning, under `key`, replacing what was there."""
        source.seek(0)
        with self._writing(key) as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)

    def move(self, key: str, target: str) -> bool:
        """Give a blob another key, at once on a local disk; whether there was one."""
        source, destination = self._path(key), self._path(target)
        try:
            if self._is_local:
                if not Path(source).is_file():
                    return False
                _make_folder(Path(destination).parent)
                Path(source).replace(destination)
                _sync_folder(Path(source).parent)
                _sync_folder(Path(destination).parent)
            else:
                self._filesystem.mv(source, destination)
        except FileNotFoundError:
            return False
        return True

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below `prefix`."""
        path = self._path(prefix)
        if not self._filesystem.exists(path):
            return []
        entries = self._filesystem.ls(path, detail=True)
        return sorted(str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")

    def keys(self, prefix: str) -> list[str]:
        """The keys of all blobs below `prefix`, in order."""
        path = self._path(prefix)
        start = len(self._root) + 1
        return sorted(str(found)[start:] for found in self._filesystem.find(path)) if self._filesystem.exists(path) else []

    def age_seconds(self, key: str) -> float | None:
        """How long ago the blob was written; None when it is gone."""
        try:
            return time.time() - float(self._filesystem.modified(self._path(key)).timestamp())
        except FileNotFoundError:
            return None


    def get_bytes(self, key: str) -> bytes:
        """The whole blob; raises BlobNotFound."""
        with self.open(key) as stream:
            return stream.read()

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """The blob as a seekable stream; raises BlobNotFound."""
        try:
            stream = self._filesystem.open(self._path(key), "rb")
        except FileNotFoundError as error:
            raise BlobNotFound(key) from error
        with stream:
            yield cast("IO[bytes]", stream)

    def chunks(self, key: str) -> Iterator[bytes]:
        """The blob piece by piece; raises BlobNotFound at the first one."""
        with self.open(key) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                yield piece

    def exists(self, key: str) -> bool:
        """Whether there is a blob under `key`."""
        return bool(self._filesystem.isfile(self._path(key)))

    def delete(self, key: str) -> None:
        """Remove the blob; no error when there is none."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(key))

    def delete_prefix(self, prefix: str) -> int:
        """Remove every blob below `prefix`; returns how many there were."""
        path = self._path(prefix)
        for rest in self._unfinished(f"{_flat(prefix)}!"):
            rest.unlink(missing_ok=True)
        if not self._filesystem.exists(path):
            return 0
        count = len(self._filesystem.find(path))
        self._filesystem.rm(path, recursive=True)
        return count

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """Remove what processes that were killed had begun to write, from this age on; returns how many files."""
        oldest = time.time() - older_than_seconds
        removed = 0
        for rest in self._unfinished(""):
            with suppress(FileNotFoundError):
                if rest.stat().st_mtime <= oldest:
                    rest.unlink()
                    removed += 1
        return removed

    def check(self) -> None:
        """Write, read and remove a small blob; raises OSError when the store does not work."""
        key = f"checks/{secrets.token_hex(8)}"
        self.put_bytes(key, b"ok")
        try:
            if self.get_bytes(key) != b"ok":
                raise OSError("the blob store gave back other bytes than it was given")
        finally:
            self.delete(key)

    def _path(self, key: str) -> str:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            raise ValueError(f"{key!r} is not a blob key")
        require_key(key)
        return f"{self._root}/{key}"

    @contextmanager
    def _writing(self, key: str) -> Iterator[IO[bytes]]:
        path = self._path(key)
        if self._is_local:
            temporary = Path(self._root, _UNFINISHED, f"{_flat(key)}.{secrets.token_hex(8)}")
            with _whole_or_absent(Path(path), temporary) as target:
                yield target
        else:
            # Object stores show an upload only when it is complete.
            stream: Any = self._filesystem.open(path, "wb")
            with stream:
                yield stream

    def _unfinished(self, start: str) -> list[Path]:
        folder = Path(self._root, _UNFINISHED)
        if not self._is_local or not folder.is_dir():
            return []
        return [path for path in folder.iterdir() if path.name.startswith(start)]


def _flat(key: str) -> str:
    return key.replace("/", "!")[:_LONGEST_NAME]


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
