"""The folder of `personalseg segment -o`: what is replaced there, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.jobs import _mask_names
from app.cli.mask_folder import LIST_NAME, MaskFolder, WouldOverwrite
from app.client import Image
from tests.full_disk import MOST_BYTES, files_bounded


def written(folder: Path, **masks: bytes) -> MaskFolder:
    found = MaskFolder(folder, "png")
    for name, content in masks.items():
        found.write(f"{name}.png", content)
    found.close()
    return found


def test_its_own_masks_are_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"a photo")
    written(tmp_path, a=b"1", b=b"2")
    again = MaskFolder(tmp_path, "png")
    again.require_free(["a.png", "b.png", "new.png"])
    assert again.write("a.png", b"3").read_bytes() == b"3"
    with pytest.raises(WouldOverwrite, match=r"holds photo\.png, not written by `segment --format png`"):
        again.require_free(["a.png", "photo.png"])
    with pytest.raises(WouldOverwrite):
        again.write("photo.png", b"a mask")
    assert (tmp_path / "photo.png").read_bytes() == b"a photo"
    again.close()
    MaskFolder(tmp_path, "png").require_free(["a.png", "b.png"])


def test_a_mask_corrected_by_hand_and_one_of_another_kind_stay(tmp_path: Path) -> None:
    written(tmp_path, a=b"1", b=b"2", c=b"3", d=b"4", e=b"5")
    (tmp_path / "a.png").write_bytes(b"corrected")
    with pytest.raises(WouldOverwrite, match=r"a\.png"):
        MaskFolder(tmp_path, "png").require_free(["a.png", "b.png"])
    with pytest.raises(WouldOverwrite, match=r"holds b\.png, c\.png, d\.png and 1 more"):
        MaskFolder(tmp_path, "overlay").require_free([f"{name}.png" for name in "bcde"])


@pytest.mark.parametrize("damage", ["", "[1, 2]", '{"a.png": 3}', "{"])
def test_without_a_list_that_can_be_read_what_is_there_stays(damage: str, tmp_path: Path) -> None:
    written(tmp_path, a=b"1")
    (tmp_path / LIST_NAME).write_text(damage)
    with pytest.raises(WouldOverwrite):
        MaskFolder(tmp_path, "png").require_free(["a.png"])
    assert MaskFolder(tmp_path, "png").write("b.png", b"2").exists()


def test_what_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(WouldOverwrite):
        MaskFolder(tmp_path, "png").write("a.png", b"1")
    assert not (tmp_path / "nowhere").exists()


def test_the_list_is_kept_when_a_run_is_broken_off(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path, "confidence")
    folder.write("a.png", b"1")
    folder.close()
    assert set(json.loads((tmp_path / LIST_NAME).read_text())) == {"a.png"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST_NAME, "a.png"]


def test_albums_keep_their_folders(tmp_path: Path) -> None:
    names = _mask_names([Image(id=name, filename=name) for name in ("2019/IMG_1.jpg", "2020/IMG_1.jpg", "IMG_1.jpg")])
    assert names == ["2019/IMG_1.png", "2020/IMG_1.png", "IMG_1.png"]
    folder = MaskFolder(tmp_path, "png")
    for index, name in enumerate(names):
        folder.write(name, bytes([index]))
    folder.close()
    assert (tmp_path / "2020" / "IMG_1.png").read_bytes() == b"\1"
    (tmp_path / "2020" / "IMG_1.png").write_bytes(b"corrected")
    with pytest.raises(WouldOverwrite, match=r"holds 2020/IMG_1\.png, not written"):
        MaskFolder(tmp_path, "png").require_free(names)


def test_no_folder_is_made_of_a_file_or_through_a_link(tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "2019").symlink_to(tmp_path / "elsewhere")
    (out / "2020").write_text("mine")
    folder = MaskFolder(out, "png")
    with pytest.raises(WouldOverwrite, match="holds 2019, 2020, not written"):
        folder.require_free(["2019/a.png", "2019/deep/b.png", "2020/a.png", "2021/a.png"])
    with pytest.raises(WouldOverwrite):
        folder.write("2019/a.png", b"1")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_full_disk_leaves_no_half_mask_and_is_told_of_by_name(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path, "png")
    folder.write("a.png", b"1")
    with files_bounded(), pytest.raises(OSError, match=r"b\.png"):
        folder.write("b.png", bytes(MOST_BYTES + 1))
    folder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST_NAME, "a.png"]
