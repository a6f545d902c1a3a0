"""Labelled folders as people have them, and what the commands say of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from models import evaluate, train_base
from models.datasets import LabelledFolder

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
    with pytest.raises(ValueError, match=rf"masks/c\.png is a picture of mode {mode}: a palette or 8-bit grey PNG"):
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
    ],
)
def test_evaluate_names_the_argument_that_cannot_be(album: Path, arguments: list[str], told: str) -> None:
    assert told in said_of(evaluate.main, *[str(album) if argument == "ALBUM" else argument for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--data", "nowhere"], "nowhere holds no labelled photos"), (["--data", "ALBUM", "--base", "nope"], "no base named 'nope'")],
)
def test_train_base_names_the_argument_that_cannot_be(album: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    given = [str(album) if argument == "ALBUM" else argument for argument in arguments]
    assert told in said_of(train_base.main, *given, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
