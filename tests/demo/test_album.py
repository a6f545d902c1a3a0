"""The sample album: enough photos, believable sizes, the same every time, nothing downloaded."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from app.demo.album import ALBUM, LONGER_SIDE_PIXELS, Source, locate, write_album
from app.demo.errors import DemoError


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the album must not use the network")

    monkeypatch.setattr(socket, "socket", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_album_is_an_album(tmp_path: Path) -> None:
    paths = write_album(tmp_path)
    assert len(paths) == len(ALBUM) >= 12
    assert len({path.parent.name for path in paths}) >= 3
    assert len(set(digests(tmp_path).values())) == len(paths), "each photo differs"
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert 250 <= min(image.size) <= max(image.size) <= LONGER_SIDE_PIXELS
            assert max(ImageStat.Stat(image).stddev) > 15, "not a flat picture"


def test_the_album_is_the_same_every_time(tmp_path: Path) -> None:
    write_album(tmp_path / "first")
    write_album(tmp_path / "second")
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_a_missing_package_is_one_sentence() -> None:
    with pytest.raises(DemoError, match=r"pip install 'personalseg\[demo\]'"):
        locate(Source("no_such_package", "data/a.png"))


def test_the_source_packages_are_not_imported() -> None:
    code = (
        "from app.demo.album import ALBUM, locate; import sys; [locate(shot.source) for shot in ALBUM];"
        "assert not {'skimage', 'sklearn', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
