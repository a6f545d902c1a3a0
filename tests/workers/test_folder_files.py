"""`python -m workers.folder`, the child of `personalseg personalize`: the files that it reads and writes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.decoding.pool import DecoderPool
from app.settings import Settings
from models.types import PhotoUnavailable
from tests.app.photos import jpeg
from tests.full_disk import MOST_BYTES, files_bounded
from workers.folder import Folder, PhotoFile, Result, _write


@pytest.fixture
def decoder() -> Iterator[DecoderPool]:
    """Ends with the test."""
    pool = DecoderPool(Settings().decoding_limits())
    yield pool
    pool.close()


@pytest.mark.timeout(60)
def test_a_pipe_is_told_like_a_file_that_cannot_be_read(tmp_path: Path, decoder: DecoderPool) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a.jpg").write_bytes(jpeg(64, 48))
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    folder = Folder([PhotoFile(tmp_path / name, name) for name in ("pipe.jpg", "link.jpg", "missing.jpg")], decoder)
    with pytest.raises(PhotoUnavailable, match=r"^The file cannot be read \(no regular file\)\.$"):
        folder.load(0)
    assert folder.load(1).shape == (48, 64, 3)
    with pytest.raises(PhotoUnavailable, match="No such file"):
        folder.load(2)


def test_the_report_has_the_sum_of_every_file(tmp_path: Path) -> None:
    result = Result("tiny")
    _write(tmp_path, "masks/a.png", b"mask", result)
    assert result.to_json()["files"] == ["masks/a.png"]
    assert result.to_json()["sha256"] == {"masks/a.png": hashlib.sha256(b"mask").hexdigest()}


def test_a_full_disk_is_told_of_by_the_folder_that_is_on_it(tmp_path: Path) -> None:
    (working := tmp_path / ".out-x1").mkdir()
    with files_bounded(), pytest.raises(OSError) as caught:
        _write(working, "masks/a.png", bytes(MOST_BYTES + 1), Result("tiny"))
    assert caught.value.filename == str(tmp_path)
