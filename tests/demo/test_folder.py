"""The photo folder is walked without surprises; the out folder is replaced whole or left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from app.demo.errors import DemoError
from app.demo.folder import find_photos, fresh_folder, mask_names, require_replaceable, sums_below


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names_of(*photos: str) -> list[str]:
    return [str(name) for name in mask_names([PurePosixPath(photo) for photo in photos]).values()]


# Photos


def test_photos_are_found_in_sub_folders_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "trip/day 1/a.heic", "trip/c.webp", "trip/notes.txt", ".hidden.jpg", ".cache/d.jpg", "e.gif")
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["b.JPG", "e.gif", "trip/c.webp", "trip/day 1/a.heic"]


def test_an_out_folder_inside_the_photo_folder_is_not_walked(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/masks/base/a.png")
    assert [path.name for path in find_photos(tmp_path, leave_out=tmp_path / "out")] == ["a.jpg"]


def test_a_folder_without_photos_and_no_folder_are_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DemoError, match="No photo was found"):
        find_photos(tmp_path)
    with pytest.raises(DemoError, match="is not a folder"):
        find_photos(tmp_path / "notes.txt")


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    scan = os.scandir

    def scandir(path: Any) -> Any:  # the tests run as root, whom no mode keeps out
        if Path(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused = {tmp_path / "closed"}
    assert find_photos(tmp_path) == [tmp_path / "a.jpg", tmp_path / "closed"]
    refused = {tmp_path}
    with pytest.raises(DemoError, match="cannot be read"):
        find_photos(tmp_path)


# Names


def test_masks_keep_sub_folders_and_stems() -> None:
    assert names_of("a.jpg", "trip/a.jpg", "b.c.jpeg") == ["a.png", "trip/a.png", "b.c.png"]


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg.png", "a.png.png", "b.png"]),
        (["a.jpg", "A.png"], ["a.jpg.png", "A.png.png"]),
        # bytes that are no UTF-8: the masks' names are text, and none overwrites another
        (["caf\udce9.jpg"], ["caf\ufffd.png"]),
        (["caf\udce9.jpg", "caf\udce8.jpg"], ["caf\ufffd.jpg.png", "caf\ufffd.jpg-2.png"]),
        (["tr\udce9s/a.jpg"], ["tr\ufffds/a.png"]),
        # a.jpg.tif would be called a.jpg.png, as a.jpg is called next to a.png
        (["a.jpg", "a.png", "a.jpg.tif"], ["a.jpg.png", "a.png.png", "a.jpg.tif.png"]),
    ],
)
def test_no_mask_overwrites_another(photos: list[str], expected: list[str]) -> None:
    assert names_of(*photos) == expected
    assert len({name.casefold() for name in expected}) == len(photos)


# Out


def write_result(folder: Path, name: str = "a") -> None:
    mask = f"masks/base/{name}.png"
    touch(folder, mask, "report.html")
    photo = {"personal_mask": mask, "base_mask": mask, "overlay": mask}
    (folder / "report.json").write_text(json.dumps({"made_by": "personalseg demo", "photos": [photo]}))


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_replaces_the_first_and_mixes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    for name in ("first", "second"):
        with fresh_folder(out) as working:
            assert working.parent == out.parent
            write_result(working, name)
    assert files_of(out) == {"masks/base/second.png", "report.html", "report.json"}
    assert [path.name for path in out.parent.iterdir()] == ["out"], "no temporary folder is left"
    assert out.stat().st_mode & 0o055 == (tmp_path / "deep").stat().st_mode & 0o055


def test_a_failed_run_leaves_the_earlier_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_result(out)
    before = files_of(out)
    with pytest.raises(RuntimeError), fresh_folder(out) as working:
        write_result(working, "half")
        raise RuntimeError
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("stranger", ["thesis.docx", "masks/base/mine.png"])
def test_a_folder_with_anything_of_yours_is_never_replaced(tmp_path: Path, stranger: str) -> None:
    write_result(tmp_path)
    touch(tmp_path, stranger)
    with pytest.raises(DemoError, match=stranger):
        require_replaceable(tmp_path)


@pytest.mark.parametrize("made_by", ["personalseg demo", "personalseg personalize"])
def test_a_result_that_was_edited_is_not_replaced(tmp_path: Path, made_by: str) -> None:
    write_result(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    names = ["masks/base/a.png", "report.html"]
    document = {**report, "made_by": made_by, "files": names, "sha256": {name: sums_below(tmp_path)[name] for name in names}}
    (tmp_path / "report.json").write_text(json.dumps(document))
    require_replaceable(tmp_path)
    (tmp_path / "masks/base/a.png").write_bytes(b"corrected by hand")
    with pytest.raises(DemoError, match=r"masks/base/a\.png, which is not from an earlier run or was changed since"):
        require_replaceable(tmp_path)
    # earlier releases noted no sums
    (tmp_path / "report.json").write_text(json.dumps({**document, "sha256": None}))
    require_replaceable(tmp_path)


def test_a_foreign_report_makes_no_folder_ours(tmp_path: Path) -> None:
    touch(tmp_path, "report.html")
    for text in ("{}", "[]", "not json", '{"made_by": "personalseg demo", "photos": 3}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(DemoError, match="not from an earlier run"):
            require_replaceable(tmp_path)


def test_empty_folders_and_litter_may_be_replaced(tmp_path: Path) -> None:
    require_replaceable(tmp_path)
    require_replaceable(tmp_path / "missing")
    touch(tmp_path, ".DS_Store")
    require_replaceable(tmp_path)


def test_a_file_as_out_is_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "out")
    with pytest.raises(DemoError, match="is a file"):
        require_replaceable(tmp_path / "out")
