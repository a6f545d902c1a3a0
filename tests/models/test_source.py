from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models import source as source_module
from models.datasets import LabelledFolder
from models.source import SourceError, fetch_source, open_source, voc_dataset


def make_voc(root: Path) -> Path:
    """PASCAL's layout: three photos, two of them with masks, one of these in `train`."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for stem in ("2007_000001", "2007_000002", "2007_000003"):
        Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(root / "JPEGImages" / f"{stem}.jpg")
    for stem in ("2007_000001", "2007_000002"):
        Image.fromarray(np.full((8, 10), 15, np.uint8)).save(root / "SegmentationClass" / f"{stem}.png")
    for split, stem in (("train", "2007_000001"), ("val", "2007_000002")):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(stem + "\n")
    return root


@pytest.mark.parametrize("nested", ["", "VOCdevkit/VOC2012", "VOC2012"])
def test_the_layout_opens_wherever_it_lies(tmp_path: Path, nested: str) -> None:
    make_voc(tmp_path / nested)
    folder = LabelledFolder.open(tmp_path)
    assert list(folder.ids) == ["2007_000001", "2007_000002"]
    assert folder.load(0).shape == (8, 10, 3)
    assert np.unique(folder.label(1)).tolist() == [15]
    assert list(LabelledFolder.open_split(tmp_path, "val").ids) == ["2007_000002"]
    assert list(open_source(tmp_path).ids) == ["2007_000001"]


def test_a_folder_without_lists_is_a_source_as_it_is(tmp_path: Path) -> None:
    make_voc(tmp_path)
    for path in (tmp_path / "ImageSets" / "Segmentation").iterdir():
        path.unlink()
    (tmp_path / "ImageSets" / "Segmentation").rmdir()
    assert len(open_source(tmp_path)) == 2
    with pytest.raises(FileNotFoundError, match=r"train\.txt"):
        LabelledFolder.open_split(tmp_path, "train")


def test_nothing_there_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="VOCdevkit/VOC2012"):
        LabelledFolder.open(tmp_path)


class Dataset:
    """Stands in for torchvision's VOCSegmentation, whose server is not ours to ask."""

    calls: list[dict[str, Any]]

    def __init__(self, works: bool = True) -> None:
        self.calls, self.works = [], works

    def __call__(self, **given: Any) -> None:
        self.calls.append(given)
        if self.works:
            make_voc(Path(given["root"]) / "VOCdevkit" / "VOC2012")


def test_fetching_asks_torchvision_once(tmp_path: Path) -> None:
    dataset = Dataset()
    assert list(fetch_source(tmp_path / "new", dataset=dataset).ids) == ["2007_000001"]
    assert list(fetch_source(tmp_path / "new", "val", dataset=dataset).ids) == ["2007_000002"]
    assert dataset.calls == [{"root": str(tmp_path / "new"), "year": "2012", "image_set": "train", "download": True}]


def test_fetching_what_is_no_voc_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not PASCAL"):
        fetch_source(tmp_path, dataset=Dataset(works=False))


def test_a_download_that_fails_says_what_to_do(tmp_path: Path) -> None:
    def broken(**given: Any) -> None:
        raise RuntimeError("File not found or corrupted.")

    with pytest.raises(SourceError, match=r"VOCtrainval_11-May-2012\.tar"):
        fetch_source(tmp_path, dataset=broken)


def test_torchvision_has_the_class() -> None:
    assert voc_dataset().__name__ == "VOCSegmentation"


def test_the_check_names_every_file_that_cannot_be_used(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    for path in (root / "ImageSets" / "Segmentation").iterdir():
        path.unlink()
    (root / "ImageSets" / "Segmentation").rmdir()
    assert CliRunner().invoke(source_module.app, ["check", str(tmp_path)]).exit_code == 0
    photo = root / "JPEGImages" / "2007_000001.jpg"
    photo.write_bytes(photo.read_bytes()[:-20])
    Image.fromarray(np.full((8, 10), 22, np.uint8)).save(root / "SegmentationClass" / "2007_000002.png")
    result = CliRunner().invoke(source_module.app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert "2007_000001.jpg cannot be read" in result.output and "2007_000002.png holds class 22" in result.output
    assert "2 labelled photos" in result.output and "2 of them unusable" in result.output
    assert CliRunner().invoke(source_module.app, ["check", str(tmp_path / "nowhere")]).exit_code == 2


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "voc_dataset", lambda: Dataset())
    result = CliRunner().invoke(source_module.app, ["fetch", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "1 labelled photos" in result.output
    assert CliRunner().invoke(source_module.app, ["fetch", str(tmp_path), "--split", "test"]).exit_code == 2
