"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.whole_file import naming, whole_file
from tests.full_disk import MOST_BYTES, files_bounded


def test_the_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (path := tmp_path / "a").write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(RuntimeError), whole_file(path) as file:
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["a"] and path.read_bytes() == b"new"


def test_a_full_disk_leaves_nothing_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with files_bounded(), pytest.raises(OSError, match=str(path)), whole_file(path) as file:
        file.write(bytes(MOST_BYTES + 1))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught, whole_file(tmp_path) as file:
        file.write(b"new")
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError) as missing, whole_file(tmp_path / "no" / "a"):
        pass
    assert missing.value.filename == str(tmp_path / "no" / "a")


def test_an_error_that_names_a_file_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")
