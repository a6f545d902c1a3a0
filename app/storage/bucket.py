"""Blobs in a bucket of an object store that speaks S3.

A PUT and the end of a multipart upload show the whole object or nothing. What s3fs would do otherwise is turned off: its
memory of listings (another process changes them), and that a stream which fails is stored as far as it came.
"""

from __future__ import annotations

import errno
import io
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import IO, Any, cast

import aiohttp
import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from app.clock import utc_now
from app.errors import StorageUnavailable

_MEBIBYTE = 1024 * 1024
# Up to this an object is sent by one PUT, from memory.
_ONE_PUT_BYTES = 16 * _MEBIBYTE
# The protocol asks for 5 MiB at least.
_PART_BYTES = 8 * _MEBIBYTE
_READ_AHEAD_BYTES = 2 * _MEBIBYTE
_DELETED_AT_ONCE = 1000
# As many as the API has threads that may ask at the same time.
_CONNECTIONS = 64
# So long a store may be silent: at connecting, before its answer or within it, and while a body is sent to it.
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 20.0
_SEND_SECONDS = 20.0
_STORE_IN_TROUBLE = (errno.EIO, errno.EBUSY)


class Bucket:
    """The objects below one prefix of a bucket, which must exist; the keys come from the settings or from where AWS's tools take them.

    No store keeps a caller for ever: one that is silent is one that is away, after about two minutes.
    """

    def __init__(self, root: str, endpoint_url: str | None = None, key_id: str | None = None, secret: str | None = None) -> None:
        self._root = root
        self._files: Any = s3fs.S3FileSystem(
            key=key_id,
            secret=secret,
            endpoint_url=endpoint_url,
            use_listings_cache=False,
            session=_session(),
            config_kwargs={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": _READ_SECONDS,
                "connector_args": {"socket_factory": _socket},
                "max_pool_connections": _CONNECTIONS,
                "signature_version": "s3v4",  # the older one is refused by newer regions
                "retries": {"mode": "standard", "total_max_attempts": 2},
            },
        )
        # On top of the client's own, which do not cover a body that breaks off. A store that is silent is asked all of these times: in two
        # minutes it is given up; at the defaults it took six.
        self._files.retries = 3

    def put(self, path: str, source: IO[bytes]) -> None:
        """See `Blobs`."""
        start = _read_up_to(source, _ONE_PUT_BYTES + 1)
        with _asking():
            if len(start) <= _ONE_PUT_BYTES:
                self._files.pipe_file(path, start)
            else:
                self._put_in_parts(path, io.BytesIO(start), source)

    def _put_in_parts(self, path: str, *sources: IO[bytes]) -> None:
        target = self._files.open(path, "wb", block_size=_PART_BYTES, autocommit=False)
        try:
            for source in sources:
                shutil.copyfileobj(source, target, _MEBIBYTE)
            target.close()
            target.commit()
        except BaseException:
            target.discard()
            target.closed = True  # else its destructor would send the rest
            raise

    def read(self, path: str) -> bytes:
        """See `Blobs`."""
        with _asking():
            return cast("bytes", self._files.cat_file(path))

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """See `Blobs`; raises OSError when the object is replaced while it is read."""
        with _asking(), self._files.open(path, "rb", block_size=_READ_AHEAD_BYTES) as stream:
            yield stream

    def move(self, source: str, target: str) -> None:
        """A copy, then the end of the source; see `Blobs`."""
        with _asking():
            self._files.cp_file(source, target)
            self._files.rm_file(source)

    def exists(self, path: str) -> bool:
        """See `Blobs`. fsspec's own answer is no as well when the store is away."""
        try:
            with _asking():
                return bool(self._files.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def modified(self, path: str) -> float:
        """See `Blobs`."""
        with _asking():
            return float(self._files.modified(path).timestamp())

    def delete(self, path: str) -> None:
        """See `Blobs`."""
        with _asking():
            self._files.rm_file(path)

    def delete_all(self, paths: list[str]) -> None:
        """See `Blobs`. Raises StorageUnavailable when the store kept something, which s3fs's own `rm` would not tell."""
        for start in range(0, len(paths), _DELETED_AT_ONCE):
            self._delete_at_once(paths[start : start + _DELETED_AT_ONCE])

    def folders(self, path: str) -> Iterator[str]:
        """See `Blobs`."""
        try:
            with _asking():
                entries = self._files.ls(path, detail=True)
        except FileNotFoundError:
            return
        yield from (str(entry["name"]).rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")

    def find(self, path: str) -> list[str]:
        """See `Blobs`."""
        with _asking():
            return [str(found) for found in self._files.find(path)]

    def delete_below(self, path: str) -> int:
        """See `Blobs`; raises as `delete_all` does."""
        self._abort_uploads(path)
        paths = self.find(path)
        self.delete_all(paths)
        return len(paths)

    def _delete_at_once(self, paths: list[str]) -> None:
        bucket = paths[0].split("/", 1)[0]
        objects = [{"Key": path.split("/", 1)[1]} for path in paths]
        with _asking():
            answer = self._files.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            raise StorageUnavailable(f"{len(errors)} objects were not deleted: {errors[0].get('Code')}")

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """See `Blobs`: multipart uploads that nobody ended, which cost money and cannot be seen."""
        return self._abort_uploads(self._root, began_before=utc_now() - timedelta(seconds=older_than_seconds))

    def _abort_uploads(self, path: str, began_before: datetime | None = None) -> int:
        bucket = path.split("/", 1)[0]
        aborted = 0
        for upload in list(self._uploads_below(path)):
            if began_before is None or upload["Initiated"] <= began_before:
                with _asking(), suppress(FileNotFoundError):  # ended meanwhile
                    self._files.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    aborted += 1
        return aborted

    def _uploads_below(self, path: str) -> Iterator[dict[str, Any]]:
        bucket, _, prefix = path.partition("/")
        marker: dict[str, str] = {}
        while True:
            with _asking():
                answer = self._files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **marker)
            yield from answer.get("Uploads", [])
            if not answer.get("IsTruncated"):
                return
            marker = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def signed_url(self, path: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """See `Blobs`."""
        with _asking():
            url = self._files.sign(path, expiration=seconds, ResponseContentType=media_type, ResponseContentDisposition=disposition)
        return str(url)


def _session() -> AioSession:
    """Whose clients send a body at once: aiohttp would wait without end for the "continue" of a store that is silent."""
    session = AioSession()
    session.unregister("before-call.s3", add_expect_header)
    return session


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that gives up where what it sends is not taken; `address` is one of `socket.getaddrinfo`.

    aiohttp's read timeout begins when the whole body is sent. Without such an option (macOS) the kernel's own patience holds.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_SEND_SECONDS * 1000))
    return made


def _read_up_to(source: IO[bytes], size: int) -> bytes:
    """A stream may give less at once than it is asked for."""
    read = bytearray()
    while len(read) < size and (piece := source.read(size - len(read))):
        read += piece
    return bytes(read)


@contextmanager
def _asking() -> Iterator[None]:
    """What says that the store is away becomes StorageUnavailable."""
    try:
        yield
    except (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError) as error:
        raise StorageUnavailable(f"The object store does not answer: {error}") from error
    except OSError as error:
        if error.errno in _STORE_IN_TROUBLE and not isinstance(error, StorageUnavailable):
            raise StorageUnavailable(f"The object store is in trouble: {error}") from error
        raise
