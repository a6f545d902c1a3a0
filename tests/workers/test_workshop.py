from pathlib import Path

import pytest

from app.settings import Settings
from workers.workshop import open_workshop


def test_without_a_source_folder_there_are_no_source_photos(tmp_path: Path) -> None:
    assert open_workshop(Settings(data_dir=tmp_path, device="cpu")).source is None


def test_a_source_folder_without_labelled_photos_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no labelled photos"):
        open_workshop(Settings(data_dir=tmp_path, source_dir=tmp_path, device="cpu"))
