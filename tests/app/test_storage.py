"""The blob store: one contract, on a local folder and on an S3 server that is asked over HTTP."""

from __future__ import annotations

import io
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.errors import BlobNotFound, StorageUnavailable
from app.storage import Storage
from app.storage import bucket as bucket_module
from app.tenancy import ForeignAccess, acting_for
from tests.conftest import free_port, requests_told

_MEBIBYTE = 1024 * 1024
_IN_PARTS = 20 * _MEBIBYTE


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty store of each kind."""
    return Storage(f"file://{tmp_path}/blobs") if request.param == "folder" else request.getfixturevalue("bucket")


@pytest.fixture
def bucket(s3_server: str, s3_bucket: str) -> Storage:
    """An empty store below a prefix of a bucket."""
    return Storage(f"s3://{s3_bucket}/below", endpoint_url=s3_server, key_id="key", secret="secret")


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path}/blobs")


class BreaksOff(io.RawIOBase):
    """A stream that fails after so many bytes."""

    def __init__(self, good_bytes: int) -> None:
        self._left = good_bytes

    def seek(self, _offset: int, _whence: int = 0) -> int:
        return 0

    def read(self, size: int = -1) -> bytes:
        if self._left <= 0:
            raise RuntimeError("the line broke")
        count = self._left if size < 0 else min(size, self._left)
        self._left -= count
        return b"x" * count


def test_a_blob_comes_back_and_is_replaced_and_deleted(storage: Storage) -> None:
    storage.put_bytes("users/1/photos/a", b"one")
    storage.put_bytes("users/1/photos/a", b"two")
    storage.put_stream("users/1/photos/b", io.BytesIO(b"three"))
    assert storage.get_bytes("users/1/photos/a") == b"two"
    assert b"".join(storage.chunks("users/1/photos/b")) == b"three"
    storage.delete("users/1/photos/a")
    storage.delete("users/1/photos/a")
    assert not storage.exists("users/1/photos/a")
    with pytest.raises(BlobNotFound):
        storage.get_bytes("users/1/photos/a")
    with pytest.raises(BlobNotFound), storage.open("users/1/photos/a"):
        pass


def test_a_stream_is_stored_from_its_beginning_and_may_be_large_or_empty(storage: Storage) -> None:
    large = bytes(range(256)) * (_IN_PARTS // 256) + b"end"
    source = io.BytesIO(large)
    source.read(7)
    storage.put_stream("a/large", source)
    storage.put_stream("a/empty", io.BytesIO())
    assert b"".join(storage.chunks("a/large")) == large
    assert storage.get_bytes("a/empty") == b""


def test_an_opened_blob_can_be_read_anywhere(storage: Storage) -> None:
    storage.put_bytes("a/b", bytes(range(256)) * 40_000)
    with storage.open("a/b") as stream:
        stream.seek(5_000_000)
        assert stream.read(3) == bytes((64, 65, 66))
        stream.seek(-2, io.SEEK_END)
        assert stream.read() == bytes((254, 255))


@pytest.mark.parametrize("good_bytes", [5, _IN_PARTS])
def test_a_write_that_fails_leaves_the_old_blob_and_no_rest(storage: Storage, good_bytes: int) -> None:
    storage.put_bytes("a/b", b"old")
    with pytest.raises(RuntimeError, match="the line broke"):
        storage.put_stream("a/b", BreaksOff(good_bytes))  # type: ignore[arg-type]
    assert storage.get_bytes("a/b") == b"old"
    assert storage.keys("a") == ["a/b"]
    assert storage.sweep_unfinished(-60) == 0


def test_a_blob_moves(storage: Storage) -> None:
    storage.put_bytes("users/1/a", b"x")
    assert storage.move("users/1/a", "users/1/aside/a")
    assert not storage.move("users/1/a", "users/1/aside/a")
    assert storage.get_bytes("users/1/aside/a") == b"x"
    assert not storage.exists("users/1/a")


def test_keys_folders_and_ages(storage: Storage) -> None:
    for key in ("users/1/a", "users/1/b/c", "users/10/a"):
        storage.put_bytes(key, b"x")
    assert storage.folders("users") == ["1", "10"]
    assert storage.keys("users/1") == ["users/1/a", "users/1/b/c"]
    assert storage.keys("users/2") == storage.folders("nothing") == []
    assert not storage.exists("users/1"), "a folder is no blob"
    age = storage.age_seconds("users/1/a")
    assert age is not None
    assert -5 < age < 60
    assert storage.age_seconds("users/2/a") is None


def test_what_one_process_stores_another_sees_at_once(storage: Storage, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    other = Storage(f"file://{tmp_path}/blobs")
    if "bucket" in request.node.name:
        other = Storage(
            f"s3://{request.getfixturevalue('s3_bucket')}/below",
            endpoint_url=request.getfixturevalue("s3_server"),
            key_id="key",
            secret="secret",
        )
    assert storage.keys("users") == []
    assert not storage.exists("users/1/a")
    other.put_bytes("users/1/a", b"x")
    assert storage.keys("users") == ["users/1/a"]
    assert storage.get_bytes("users/1/a") == b"x"
    other.delete("users/1/a")
    assert not storage.exists("users/1/a")


def test_a_long_key_can_be_written(storage: Storage) -> None:
    key = f"users/{'u' * 60}/masks/{'i' * 60}/{'b' * 100}-v1.labels.png"
    storage.put_bytes(key, b"x")
    assert storage.get_bytes(key) == b"x"


def test_a_prefix_is_removed_and_counted_and_its_neighbour_stays(storage: Storage) -> None:
    for key in ("users/1/a", "users/1/b/c", "users/10/a"):
        storage.put_bytes(key, b"x")
    assert storage.delete_prefix("users/1") == 2
    assert storage.delete_prefix("users/1") == 0
    assert storage.exists("users/10/a")


def test_many_blobs_are_removed_and_those_that_are_not_there_are_no_error(storage: Storage) -> None:
    for key in ("users/1/a", "users/1/b/c", "users/1/d"):
        storage.put_bytes(key, b"x")
    storage.delete_all(["users/1/a", "users/1/gone", "users/1/b/c", "users/1/a"])
    storage.delete_all([])
    assert storage.keys("users") == ["users/1/d"]


def test_where_one_key_is_none_nothing_is_removed(storage: Storage) -> None:
    storage.put_bytes("users/1/a", b"x")
    with pytest.raises(ValueError, match="not a blob key"):
        storage.delete_all(["users/1/a", "../b"])
    with acting_for("1"), pytest.raises(ForeignAccess):
        storage.delete_all(["users/1/a", "users/2/a"])
    assert storage.exists("users/1/a")


@pytest.mark.parametrize("key", ["", "../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "a\0b", "a\\b"])
def test_a_key_cannot_leave_the_store(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        storage.put_bytes(key, b"x")


def test_the_check_leaves_nothing_behind(storage: Storage) -> None:
    storage.check()
    assert storage.keys("checks") == []


def test_a_store_that_loses_the_checks_blob_does_not_work(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    put = storage.put_bytes

    def put_and_lose(key: str, data: bytes) -> None:
        put(key, data)
        storage.delete(key)

    monkeypatch.setattr(storage, "put_bytes", put_and_lose)
    with pytest.raises(OSError, match="does not have"):
        storage.check()


# A local folder ---------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_had_begun_is_swept_at_its_age(folder: Storage, tmp_path: Path) -> None:
    assert folder.sweep_unfinished(0) == 0
    folder.put_bytes("users/1/a", b"x")
    unfinished = tmp_path / "blobs" / ".unfinished"
    (unfinished / "users!1!b.0123").write_bytes(b"half")
    assert folder.sweep_unfinished(3600) == 0
    assert folder.sweep_unfinished(0) == 1
    assert list(unfinished.iterdir()) == []
    assert folder.get_bytes("users/1/a") == b"x"


def test_what_a_killed_process_had_begun_goes_with_its_user(folder: Storage, tmp_path: Path) -> None:
    folder.put_bytes("users/1/a", b"x")
    unfinished = tmp_path / "blobs" / ".unfinished"
    (unfinished / "users!1!b.0123").write_bytes(b"half")
    (unfinished / "users!10!b.0123").write_bytes(b"half")
    assert folder.delete_prefix("users/1") == 1
    assert [path.name for path in unfinished.iterdir()] == ["users!10!b.0123"]


def test_a_folder_has_no_address_to_give(folder: Storage) -> None:
    assert folder.signed_url("users/1/a", 60, "image/png", "inline") is None


@pytest.mark.parametrize("url", ["memory://bucket", "gs://bucket"])
def test_another_kind_of_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="A blob store is"):
        Storage(url)


# A bucket ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_client(s3_server: str) -> Iterator[Any]:
    """The same bucket through Amazon's own client."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    yield client
    client.close()


def test_an_upload_that_a_killed_process_had_begun_is_swept_at_its_age(bucket: Storage, s3_bucket: str, s3_client: Any) -> None:
    _begin_upload(s3_client, s3_bucket, "below/users/1/b")
    _begin_upload(s3_client, s3_bucket, "elsewhere/b")
    # For this server every upload began in 2010.
    assert bucket.sweep_unfinished(100 * 365 * 86_400) == 0
    assert bucket.sweep_unfinished(3600) == 1
    assert _unfinished(s3_client, s3_bucket) == ["elsewhere/b"]


def test_an_upload_that_a_killed_process_had_begun_goes_with_its_user(bucket: Storage, s3_bucket: str, s3_client: Any) -> None:
    bucket.put_bytes("users/1/a", b"x")
    _begin_upload(s3_client, s3_bucket, "below/users/1/b")
    _begin_upload(s3_client, s3_bucket, "below/users/10/b")
    assert bucket.delete_prefix("users/1") == 1
    assert _unfinished(s3_client, s3_bucket) == ["below/users/10/b"]


def _begin_upload(client: Any, bucket: str, key: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.upload_part(Bucket=bucket, Key=key, UploadId=upload["UploadId"], PartNumber=1, Body=b"half")


def _unfinished(client: Any, bucket: str) -> list[str]:
    return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def test_more_blobs_than_one_request_takes_are_removed(bucket: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.bucket._DELETED_AT_ONCE", 3)
    for number in range(7):
        bucket.put_bytes(f"users/1/{number}", b"x")
    assert bucket.delete_prefix("users/1") == 7
    assert bucket.keys("users") == []


def test_many_blobs_are_removed_by_one_request_for_so_many(
    bucket: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.storage.bucket._DELETED_AT_ONCE", 3)
    keys = [f"users/1/{number}" for number in range(7)]
    for key in keys:
        bucket.put_bytes(key, b"x")
    with requests_told(caplog) as told:
        bucket.delete_all(keys)
    assert len(told) == 3
    assert bucket.keys("users") == []


def test_a_signed_address_gives_the_blob_to_anybody_as_what_it_is(bucket: Storage) -> None:
    bucket.put_bytes("users/1/a", b"the photo")
    url = bucket.signed_url("users/1/a", 60, "image/jpeg", "inline; filename*=UTF-8''a.jpg")
    assert url is not None
    assert "X-Amz-Expires=60" in url
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"the photo"
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''a.jpg"


def test_a_store_that_is_away_is_told_apart_from_a_blob_that_is(s3_bucket: str) -> None:
    away = Storage(f"s3://{s3_bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}", key_id=uuid4().hex, secret="secret")
    for ask in (away.exists, away.get_bytes, away.folders, away.delete_prefix, lambda key: away.delete_all([key])):
        with pytest.raises(StorageUnavailable):
            ask("users/1/a")
    with pytest.raises(StorageUnavailable):
        away.put_bytes("users/1/a", b"x")
    with pytest.raises(StorageUnavailable), away.open("users/1/a"):
        pass


class SilentServer:
    """Takes every connection, reads what comes over it where it shall, and never says a word."""

    def __init__(self, *, reads: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._reads = reads
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            if self._reads:
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(_MEBIBYTE):
                pass

    def close(self) -> None:
        for end in (self._listener, *self._connections):
            end.close()


@pytest.fixture
def silent_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentServer]:
    """One for whose clients a second is long."""
    for name in ("_CONNECT_SECONDS", "_READ_SECONDS", "_SEND_SECONDS"):
        monkeypatch.setattr(bucket_module, name, 0.5)
    server = SilentServer(reads=request.param)
    yield server
    server.close()


@pytest.mark.parametrize("silent_server", [True], indirect=True)
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda storage: storage.put_bytes("users/u/x", b"small"), id="one put"),  # botocore would ask whether to go on
        pytest.param(lambda storage: storage.put_stream("users/u/x", io.BytesIO(bytes(_IN_PARTS))), id="in parts"),
        pytest.param(lambda storage: storage.get_bytes("users/u/x"), id="get"),
    ],
)
def test_a_store_that_is_silent_is_away(silent_server: SilentServer, ask: Callable[[Storage], object]) -> None:
    storage = Storage("s3://bucket/blobs", endpoint_url=silent_server.url, key_id="key", secret="secret")
    with pytest.raises(StorageUnavailable, match="does not answer"):
        ask(storage)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="no such patience here")
@pytest.mark.parametrize("silent_server", [False], indirect=True)
def test_a_store_that_takes_no_more_of_a_body_is_away(silent_server: SilentServer) -> None:
    storage = Storage("s3://bucket/blobs", endpoint_url=silent_server.url, key_id="key", secret="secret")
    with pytest.raises(StorageUnavailable, match="does not answer"):
        storage.put_bytes("users/u/x", bytes(12 * _MEBIBYTE))
