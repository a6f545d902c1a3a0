"""The blob store of a deployment: keys in, blobs out, whatever kind of store it is.

A blob is whole or absent. The keys of one user all start with `users/{user_id}/`; the tenancy wall looks at every one.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from fsspec.core import split_protocol, url_to_fs

from app.errors import BlobNotFound
from app.settings import Settings
from app.storage.blobs import Blobs
from app.storage.folder import Folder
from app.tenancy import require_key

_CHUNK_BYTES = 1024 * 1024
_CHECKS = "checks"


def open_storage(settings: Settings) -> Storage:
    """The blob store of these settings."""
    return Storage(
        settings.storage_url,
        endpoint_url=settings.storage_endpoint_url,
        key_id=settings.storage_key_id,
        secret=settings.storage_secret,
    )


class Storage:
    """The blob store behind one URL, `file://…` or `s3://bucket/prefix`.

    Where an object store is away, every method raises StorageUnavailable, an OSError.
    """

    def __init__(self, url: str, *, endpoint_url: str | None = None, key_id: str | None = None, secret: str | None = None) -> None:
        self._root, self._blobs = _open_blobs(url, endpoint_url, key_id, secret)

    @property
    def folder(self) -> Path | None:
        """Where a `file://` store keeps its blobs; None for a bucket."""
        return Path(self._root) if isinstance(self._blobs, Folder) else None

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store these bytes under `key`, replacing what was there."""
        self._blobs.put(self._path(key), io.BytesIO(data))

    def put_stream(self, key: str, source: IO[bytes]) -> None:
        """Store a file's bytes, from its beginning, under `key`, replacing what was there."""
        path = self._path(key)
        source.seek(0)
        self._blobs.put(path, source)

    def move(self, key: str, target: str) -> bool:
        """Give a blob another key, at once on a local disk; whether there was one."""
        source, destination = self._path(key), self._path(target)
        try:
            self._blobs.move(source, destination)
        except FileNotFoundError:
            return False
        return True

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below `prefix`."""
        return sorted(self._blobs.folders(self._path(prefix)))

    def keys(self, prefix: str) -> list[str]:
        """The keys of all blobs below `prefix`, in order."""
        start = len(self._root) + 1
        return sorted(path[start:] for path in self._blobs.find(self._path(prefix)))

    def age_seconds(self, key: str) -> float | None:
        """How long ago the blob was written; None when it is gone."""
        try:
            return time.time() - self._blobs.modified(self._path(key))
        except FileNotFoundError:
            return None

    def get_bytes(self, key: str) -> bytes:
        """The whole blob; raises BlobNotFound."""
        try:
            return self._blobs.read(self._path(key))
        except FileNotFoundError as error:
            raise BlobNotFound(key) from error

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """The blob as a seekable stream; raises BlobNotFound."""
        with ExitStack() as opened:
            try:
                stream = opened.enter_context(self._blobs.open(self._path(key)))
            except FileNotFoundError as error:
                raise BlobNotFound(key) from error
            yield stream

    def chunks(self, key: str) -> Iterator[bytes]:
        """The blob piece by piece; raises BlobNotFound at the first one."""
        with self.open(key) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                yield piece

    def exists(self, key: str) -> bool:
        """Whether there is a blob under `key`."""
        return self._blobs.exists(self._path(key))

    def delete(self, key: str) -> None:
        """Remove the blob; no error when there is none."""
        self._blobs.delete(self._path(key))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove these blobs, many with one request to an object store; no error for those that are not there."""
        self._blobs.delete_all([self._path(key) for key in dict.fromkeys(keys)])

    def delete_prefix(self, prefix: str) -> int:
        """Remove every blob below `prefix`; returns how many there were."""
        return self._blobs.delete_below(self._path(prefix))

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """Remove what processes that were killed had begun to write, or to check, from this age on; returns how many files or uploads."""
        return self._blobs.sweep_unfinished(older_than_seconds) + self._sweep_checks(older_than_seconds)

    def _sweep_checks(self, older_than_seconds: float) -> int:
        ages = {key: self.age_seconds(key) for key in self.keys(_CHECKS)}
        old = [key for key, age in ages.items() if age is not None and age >= older_than_seconds]
        self.delete_all(old)
        return len(old)

    def signed_url(self, key: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """An address from which anybody may fetch this blob for so long, with these headers; None from a local folder."""
        return self._blobs.signed_url(self._path(key), seconds, media_type, disposition)

    def check(self) -> None:
        """Write, read and remove a small blob; raises OSError when the store does not work."""
        key = f"{_CHECKS}/{secrets.token_hex(8)}"
        self.put_bytes(key, b"ok")
        try:
            if self.get_bytes(key) != b"ok":
                raise OSError("the blob store gave back other bytes than it was given")
        except BlobNotFound as error:
            raise OSError("the blob store does not have what it was given") from error
        finally:
            self.delete(key)

    def _path(self, key: str) -> str:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            raise ValueError(f"{key!r} is not a blob key")
        require_key(key)
        return f"{self._root}/{key}"


def _open_blobs(url: str, endpoint_url: str | None, key_id: str | None, secret: str | None) -> tuple[str, Blobs]:
    protocol, root = split_protocol(url)
    if protocol == "s3":
        # Many hundred milliseconds of import, and an extra that a deployment on one machine does without.
        from app.storage.bucket import Bucket

        root = str(root).strip("/")
        return root, Bucket(root, endpoint_url, key_id, secret)
    if protocol not in (None, "file"):
        raise ValueError(f"A blob store is `file://…` or `s3://…`, not {protocol!r}.")
    root = str(url_to_fs(url)[1]).rstrip("/")
    return root, Folder(root)
