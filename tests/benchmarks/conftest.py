"""A tiny base, four tiny photos and a tiny source folder for the tests of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.survey.interface import Problem
from models.bases.registry import Base, load_base
from models.datasets import LabelledFolder
from models.labels import VOC_PALETTE
from models.preprocess import shrink

SIDE = 64  # pixels; the smallest side that every stride of ESPNetv2 divides


def picture(seed: int) -> np.ndarray:
    """Something to look at: soft blobs of colour, (72, 96, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.array(small.resize((96, 72), Image.Resampling.BICUBIC))


def write_pair(root: Path, stem: str, seed: int, photos: str = "images", masks: str = "masks") -> None:
    """A photo and a mask: background, a person, an ignored border."""
    (root / photos).mkdir(parents=True, exist_ok=True)
    (root / masks).mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(root / photos / f"{stem}.jpg")
    label = np.zeros((72, 96), np.uint8)
    label[20:50, 30:60], label[:2] = 15, 255
    mask = Image.fromarray(label, mode="P")
    mask.putpalette([value for color in VOC_PALETTE for value in color])
    mask.save(root / masks / f"{stem}.png")


def make_pss(root: Path) -> Path:
    """Three users of the PSS layout: four photos each, of which two are labelled."""
    for user in ("id1", "id2", "id10"):
        for index in range(4):
            write_pair(root / user, f"x{index}", index, "JPEGImages", "SegmentationClass")
        for index in (0, 3):
            (root / user / "SegmentationClass" / f"x{index}.png").unlink()
        (root / user / "val_all.txt").write_text("x2\nx1\n")
        (root / user / "train_cluster80.txt").write_text("/JPEGImages/x0.jpg /SegmentationClass/x0.png 7\n")
    (root / "readme").mkdir()
    return root


@dataclass(frozen=True)
class Photos:
    """A `models.PhotoSource` in memory."""

    photos: tuple[np.ndarray, ...]

    @property
    def ids(self) -> list[str]:
        return [f"photo-{index}" for index in range(len(self.photos))]

    def load(self, index: int) -> np.ndarray:
        return self.photos[index]


@pytest.fixture(scope="session")
def tiny() -> Base:
    """The real tiny base, at a tiny side."""
    base = load_base("espnetv2_tiny")
    return replace(base, info=replace(base.info, side=SIDE))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> LabelledFolder:
    root = tmp_path_factory.mktemp("source")
    for index in range(3):
        write_pair(root, f"s{index}", 100 + index)
    return LabelledFolder.open(root)


@pytest.fixture
def problem(tiny: Base, source: LabelledFolder) -> Problem:
    photos = Photos(tuple(picture(seed) for seed in range(4)))
    pixels = torch.stack([shrink(photo, SIDE) for photo in photos.photos])
    return Problem(tiny, photos, pixels, source, budget_seconds=600.0, epochs=2, batch_size=2)
