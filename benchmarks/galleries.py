"""Galleries to measure on: recipes (class subset × camera × seed) over a labelled folder, and the CamVid drives.

`voc2012/val` is split once by a hash of the id: thresholds and settings are tuned on one half, figures are reported on the other.
Labels choose which photos a gallery is made of (a person photographs few kinds of things) and score the result; no method sees them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cameras import CAMERAS
from models.datasets import LabelledFolder
from models.evaluate import tuning_half
from models.labels import VOC_CLASSES

PETS = ("person", "dog", "cat", "sofa", "chair", "tvmonitor", "pottedplant", "bottle", "diningtable")
STREET = ("person", "car", "bus", "bicycle", "motorbike", "train", "aeroplane")
FARM = ("person", "horse", "cow", "sheep", "bird", "dog", "boat")
SUBJECTS: dict[str, tuple[str, ...]] = {"mixed": VOC_CLASSES[1:], "pets": PETS, "street": STREET, "farm": FARM}


@dataclass(frozen=True)
class GalleryRecipe:
    """One user of the benchmark. `subject`: a key of SUBJECTS, or the name of a CamVid drive."""

    subject: str
    camera: str = "untouched"
    seed: int = 0
    photos: int = 64
    half: str = "report"

    @property
    def name(self) -> str:
        """For tables and cache keys."""
        return f"{self.subject}-{self.camera}-{self.photos}-{self.half}-s{self.seed}"

    @property
    def is_drive(self) -> bool:
        """Whether this is a CamVid drive (all its frames, as they are)."""
        return self.subject not in SUBJECTS


@dataclass(frozen=True)
class Gallery:
    """A `models.PhotoSource` through a camera, with labels for scoring."""

    recipe: GalleryRecipe
    folder: LabelledFolder

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids."""
        return self.folder.ids

    def load(self, index: int) -> np.ndarray:
        """The photo as the user's camera took it: (H, W, 3) uint8."""
        digest = hashlib.sha256(f"{self.recipe.seed}/{self.ids[index]}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        return CAMERAS[self.recipe.camera](self.folder.load(index), rng)

    def label(self, index: int) -> np.ndarray:
        """For scoring only: (H, W) uint8, 255 = ignore."""
        return self.folder.label(index)


def open_gallery(recipe: GalleryRecipe, data: Path) -> Gallery:
    """The gallery of a recipe from `shared/data`'s layout. Raises FileNotFoundError where the data are missing."""
    if recipe.is_drive:
        return Gallery(recipe, LabelledFolder.open(data / "camvid" / recipe.subject))
    folder = LabelledFolder.open(data / "voc2012" / "val")
    wanted = {VOC_CLASSES.index(name) for name in SUBJECTS[recipe.subject]}
    order = np.random.default_rng(recipe.seed).permutation(len(folder))
    chosen: list[str] = []
    for index in order:
        stem = folder.ids[int(index)]
        if tuning_half(stem) == (recipe.half == "tune") and _shows(folder.label(int(index)), wanted):
            chosen.append(stem)
        if len(chosen) == recipe.photos:
            break
    return Gallery(recipe, folder.subset(chosen))


def _shows(label: np.ndarray, wanted: set[int]) -> bool:
    """Whether everything labelled in a photo is of the subject."""
    present = set(np.unique(label).tolist()) - {0, 255}
    return bool(present) and present <= wanted


REPORTED: tuple[GalleryRecipe, ...] = (
    GalleryRecipe("mixed", photos=32),
    GalleryRecipe("pets", "low_light", 1, photos=32),
    GalleryRecipe("0001TP"),
)
"""The three galleries of the first version; the survey's list grows from here."""
