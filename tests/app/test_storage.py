"""The blob store on a local folder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.errors import BlobNotFound
from app.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path}/blobs")


def test_a_blob_comes_back_and_is_replaced_and_deleted(storage: Storage, tmp_path: Path) -> None:
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


def test_a_write_that_fails_leaves_the_old_blob_and_no_rest(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("a/b", b"old")
    with pytest.raises(RuntimeError), storage._writing("a/b") as target:
        target.write(b"half")
        raise RuntimeError
    assert storage.get_bytes("a/b") == b"old"
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == ["b"]


def test_what_a_killed_process_had_begun_is_swept_at_its_age(storage: Storage, tmp_path: Path) -> None:
    assert storage.sweep_unfinished(0) == 0
    storage.put_bytes("users/1/a", b"x")
    folder = tmp_path / "blobs" / ".unfinished"
    (folder / "users!1!b.0123").write_bytes(b"half")
    assert storage.sweep_unfinished(3600) == 0
    assert storage.sweep_unfinished(0) == 1
    assert list(folder.iterdir()) == []
    assert storage.get_bytes("users/1/a") == b"x"


def test_what_a_killed_process_had_begun_goes_with_its_user(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("users/1/a", b"x")
    folder = tmp_path / "blobs" / ".unfinished"
    (folder / "users!1!b.0123").write_bytes(b"half")
    (folder / "users!10!b.0123").write_bytes(b"half")
    assert storage.delete_prefix("users/1") == 1
    assert [path.name for path in folder.iterdir()] == ["users!10!b.0123"]


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


@pytest.mark.parametrize("key", ["", "../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "a\0b", "a\\b"])
def test_a_key_cannot_leave_the_store(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        storage.put_bytes(key, b"x")


def test_the_check_leaves_nothing_behind(storage: Storage, tmp_path: Path) -> None:
    storage.check()
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_an_object_store_holds_the_same_contract() -> None:
    storage = Storage("memory://bucket")
    storage.put_bytes("users/1/a", b"x")
    assert storage.get_bytes("users/1/a") == b"x"
    assert storage.delete_prefix("users/1") == 1
    with pytest.raises(BlobNotFound):
        storage.get_bytes("users/1/a")
