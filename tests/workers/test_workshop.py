from pathlib import Path

import pytest
import torch

from app.setting_errors import SettingUnusable
from app.settings import Settings
from workers.devices import choose_device, is_there
from workers.workshop import open_workshop


def test_without_a_source_folder_there_are_no_source_photos(tmp_path: Path) -> None:
    assert open_workshop(Settings(data_dir=tmp_path, device="cpu")).source is None


def test_a_source_folder_without_labelled_photos_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingUnusable, match=r"PERSONALSEG_SOURCE_DIR .* holds no labelled photos"):
        open_workshop(Settings(data_dir=tmp_path, source_dir=tmp_path, device="cpu"))


def test_a_source_folder_with_two_photos_of_one_name_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(SettingUnusable, match=r"PERSONALSEG_SOURCE_DIR .* are of one name"):
        open_workshop(Settings(data_dir=tmp_path, source_dir=tmp_path, device="cpu"))


@pytest.mark.parametrize("device", ["bogus", "", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_by_the_settings_name(tmp_path: Path, device: str) -> None:
    with pytest.raises(SettingUnusable, match="PERSONALSEG_DEVICE is not usable"):
        open_workshop(Settings(data_dir=tmp_path, device=device))
    with pytest.raises(SettingUnusable, match=f"no device '{device}'"):
        choose_device(device)


def test_the_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == "cpu" and not is_there("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == "cuda" and choose_device("cuda:1") == "cuda:1" and not is_there("cuda:2")
