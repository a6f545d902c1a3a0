"""Labelled folders as people have them, and what the commands say of wrong ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from models import evaluate, train_base
from models.bases.registry import load_base
from models.datasets import LabelledFolder, UnusableFile

SIZE = (48, 32)


def put(folder: Path, name: str, mode: str = "RGB", value: int = 7) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, SIZE, value).save(folder / name)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.JPG", "c.jpeg", "d.png", "e.WebP", "f.TIFF"):
        put(tmp_path / "images", name)
    for name in ("a.png", "b.PNG", "c.png", "d.png", "e.png", "f.png"):
        put(tmp_path / "masks", name, "L")
    (tmp_path / "images" / "notes.txt").write_text("no photo")
    put(tmp_path / "images", "without_a_mask.jpg")
    return tmp_path


def test_photos_may_end_as_cameras_write_them(album: Path) -> None:
    folder = LabelledFolder.open(album)
    assert list(folder.ids) == ["a", "b", "c", "d", "e", "f"]
    for index in range(len(folder)):
        assert folder.load(index).shape == (32, 48, 3)
        assert (folder.label(index) == 7).all()
    assert list(folder.subset(["f", "b"]).ids) == ["f", "b"] and folder.subset(["f"]).load(0).shape == (32, 48, 3)


def test_two_photos_of_one_name_are_not_chosen_from(album: Path) -> None:
    put(album / "images", "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png in .*images are of one name"):
        LabelledFolder.open(album)


@pytest.mark.parametrize("mode", ["1", "RGB", "I;16", "LA"])
def test_a_mask_that_holds_no_class_ids_is_named(album: Path, mode: str) -> None:
    Image.fromarray(np.zeros((32, 48), np.uint16)).save(album / "masks" / "c.png") if mode == "I;16" else put(
        album / "masks", "c.png", mode, 0
    )
    with pytest.raises(UnusableFile, match=rf"masks/c\.png is a picture of mode {mode}: a palette or 8-bit grey PNG"):
        LabelledFolder.open(album).label(2)


def said_of(main: Callable[..., Any], *arguments: object) -> str:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "nowhere", "--base", "espnetv2_tiny"], "nowhere holds no labelled photos"),
        (["--data", "ALBUM", "--base", "nope"], "no base named 'nope'; there are espnetv2"),
        (["--data", "ALBUM", "--base", "espnetv2_tiny", "--half", "third"], "'third' is not one of"),
        (["--data", "ALBUM", "--base", "espnetv2_tiny", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["--data", "ALBUM", "--base", "espnetv2_tiny", "--run", "nowhere/state.pt"], "No such file or directory: 'nowhere/state.pt'"),
        (["--data", "ALBUM", "--base", "espnetv2_tiny", "--run", "ALBUM/masks/a.png"], "a.png is not a file of PyTorch's"),
    ],
)
def test_evaluate_names_the_argument_that_cannot_be(album: Path, arguments: list[str], told: str) -> None:
    assert told in said_of(evaluate.main, *[argument.replace("ALBUM", str(album)) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "nowhere"], "nowhere holds no labelled photos"),
        (["--data", "ALBUM", "--base", "nope"], "no base named 'nope'"),
        (["--data", "ALBUM", "--base", "espnetv2_tiny"], "a context that has no weights"),
        (["--data", "ALBUM", "--weights", "nowhere.pth"], "No such file or directory: 'nowhere.pth'"),
        (["--data", "ALBUM", "--weights", "ALBUM/masks/a.png"], "a.png is not a file of PyTorch's"),
        (["--data", "ALBUM", "--width", "0.5"], "the architecture wants"),
        (["--data", "ALBUM", "--base", "pspnet_resnet50", "--phase", "context"], "it has learned nothing yet"),
    ],
)
def test_train_base_names_the_argument_that_cannot_be(album: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    given = [argument.replace("ALBUM", str(album)) for argument in arguments]
    assert told in said_of(train_base.main, *given, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def pascal(root: Path, album: Path) -> Path:
    """The album's photos, as PASCAL's archive has them: `a` to learn from, `b` and `c` to score."""
    base = root / "VOCdevkit" / "VOC2012"
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    shutil.copytree(album / "images", base / "JPEGImages")
    shutil.copytree(album / "masks", base / "SegmentationClass")
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\nc\n")
    return root


def test_of_pascals_folder_one_list_is_learned_from_and_the_other_scored(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pascal(tmp_path / "voc", album)
    opened: list[tuple[str, list[str]]] = []

    class Done(Exception):
        pass

    def seen(name: str, position: int) -> Callable[..., Any]:
        def stop(*arguments: Any, **_: Any) -> None:
            opened.append((name, list(arguments[position].ids)))
            raise Done

        return stop

    monkeypatch.setattr(train_base, "Trainer", seen("learned", 3))
    monkeypatch.setattr(evaluate, "evaluate", seen("scored", 1))
    for module, extra in ((train_base, ["--out", tmp_path / "run"]), (evaluate, ["--base", "espnetv2_tiny"])):
        for split in ([], ["--split", "train"], ["--split", "val"]):
            app = typer.Typer()
            app.command()(module.main)
            result = CliRunner().invoke(app, [str(argument) for argument in ("--data", folder, *extra, *split)])
            assert isinstance(result.exception, Done), result.output
    assert opened == [
        *(("learned", ids) for ids in (["a"], ["a"], ["b", "c"])),
        *(("scored", ids) for ids in (["b", "c"], ["a"], ["b", "c"])),
    ]


def test_a_class_that_the_base_does_not_know_is_told_with_its_file(album: Path) -> None:
    Image.fromarray(np.full((8, 8), 22, np.uint8)).save(album / "masks" / "c.png")
    assert LabelledFolder.open(album).label(2).max() == 22
    assert "c.png holds class 22: 21 classes are known, 0 to 20" in said_of(evaluate.main, "--data", album, "--base", "espnetv2_tiny")


def test_a_base_with_weights_of_its_own_is_trained_from_these(tmp_path: Path) -> None:
    segmenter = train_base.build(None, 2.0)
    train_base.initialise(segmenter, base="espnetv2", imagenet=False, weights_dir=tmp_path, mirror=None)
    shipped = load_base("espnetv2").segmenter.base.state_dict()
    assert [name for name, value in segmenter.base.state_dict().items() if not torch.equal(value, shipped[name])] == []
    assert all(parameter.requires_grad for parameter in segmenter.base.parameters())


def test_a_run_that_goes_on_fetches_no_backbone_again(tmp_path: Path) -> None:
    segmenter = train_base.build(None, 2.0, base="pspnet_resnet50")
    nowhere = "http://127.0.0.1:9"
    train_base.initialise(segmenter, base="pspnet_resnet50", imagenet=True, weights_dir=tmp_path, mirror=nowhere, goes_on=True)
    assert segmenter.base.new_parts == ["pool", "auxiliary"]
