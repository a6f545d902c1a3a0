"""`python -m workers.folder`, the child of `personalseg personalize`: the files that it reads and writes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from app.decoding.errors import PhotoRejected
from app.decoding.pool import DecoderPool
from app.settings import Settings
from models import PersonalizeConfig
from models.types import PhotoUnavailable
from tests.app.photos import jpeg
from tests.full_disk import MOST_BYTES, files_bounded
from tests.workers.conftest import BASE
from workers import folder as folder_module
from workers.cache import BaseCache
from workers.folder import Folder, PhotoFile, Result, _tell, _write, personalize_folder


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


class NoOverlay(DecoderPool):
    """Its second task with each photo fails: decoded twice, a huge one takes longer than a decoder may."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Settings().decoding_limits())
        self._error = error

    def overlay(self, photo: IO[bytes], labels: IO[bytes]) -> bytes:
        if Path(str(photo.name)).name == "b.jpg":
            raise self._error
        return super().overlay(photo, labels)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PhotoRejected("decoding_too_slow", "Decoding took too long."), "Decoding took too long."),
        (OSError(errno.EIO, "Input/output error"), "The file cannot be read (Input/output error)."),
    ],
)
def test_an_overlay_that_cannot_be_made_costs_nothing_else(
    error: Exception, why: str, tmp_path: Path, bases: BaseCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a", "b", "c")
    for name in names:
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(64, 48))
    files = [PhotoFile(tmp_path / f"{name}.jpg", f"{name}.png") for name in names]
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr(folder_module, "personalize", lambda *_, **__: SimpleNamespace(model=None, report={}))
    decoder = NoOverlay(error)
    try:
        result = personalize_folder(bases.get(BASE), files, out, PersonalizeConfig(), decoder, lambda *_: None)
    finally:
        decoder.close()
    assert not result.rejected
    assert [photo["overlay"] for photo in result.photos] == ["overlays/a.png", None, "overlays/c.png"]
    (without,) = result.without_overlay
    assert without["overlay_missing"] == why and without["classes"]
    assert sorted(result.files) == sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert {f"{kind}/b.png" for kind in ("masks", "confidence")} <= set(result.files)
    _tell(result, as_json=False)
    assert f"b.jpg: it has its mask, but no overlay: {why}" in capsys.readouterr().err


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
