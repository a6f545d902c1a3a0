"""Galleries to measure on, opened from their recipes: VOC photos through a camera, CamVid drives, PSS users, junk.

`voc2012/val` is split once by a hash of the id: thresholds and settings are tuned on one half, figures are reported on the other.
Labels choose which photos a gallery is made of (a person photographs few kinds of things) and score the result; no method sees them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.cameras import CAMERAS
from benchmarks.junk import JunkGallery
from benchmarks.pss import open_user
from benchmarks.recipes import JUNK, PSS, REPORTED, SUBJECTS, GalleryRecipe, Kind
from models.datasets import LabelledFolder
from models.evaluate import tuning_half
from models.labels import VOC_CLASSES

__all__ = ["REPORTED", "Gallery", "GalleryRecipe", "UserGallery", "open_gallery"]


class UserGallery(Protocol):
    """A `models.PhotoSource` with labels for some of its photos."""

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids."""
        ...

    @property
    def scored(self) -> Sequence[int]:
        """Indices of the photos that have a label."""
        ...

    def load(self, index: int) -> np.ndarray:
        """The photo: (H, W, 3) uint8 RGB."""
        ...

    def label(self, index: int) -> np.ndarray:
        """For scoring only: (H, W) uint8, 255 = ignore; `index` is one of `scored`."""
        ...


@dataclass(frozen=True)
class Gallery:
    """A labelled folder's photos through a camera."""

    recipe: GalleryRecipe
    folder: LabelledFolder

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids."""
        return self.folder.ids

    @property
    def scored(self) -> Sequence[int]:
        """All of them."""
        return range(len(self.folder))

    def load(self, index: int) -> np.ndarray:
        """The photo as the user's camera took it: (H, W, 3) uint8."""
        digest = hashlib.sha256(f"{self.recipe.seed}/{self.ids[index]}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        return CAMERAS[self.recipe.camera](self.folder.load(index), rng)

    def label(self, index: int) -> np.ndarray:
        """For scoring only: (H, W) uint8, 255 = ignore."""
        return self.folder.label(index)


def open_gallery(recipe: GalleryRecipe, data: Path, pss: Path | None = None) -> UserGallery:
    """The gallery of a recipe, from `shared/data`'s layout or, for a PSS user, from the folder `pss`.

    Raises FileNotFoundError where the data are missing.
    """
    if recipe.kind is Kind.JUNK:
        return JunkGallery(recipe.subject.removeprefix(JUNK), recipe.photos, recipe.seed)
    if recipe.kind is Kind.PSS:
        if pss is None:
            raise FileNotFoundError(f"{recipe.subject}: say where the PSS data set is, with --pss DIR")
        return open_user(pss / recipe.subject.removeprefix(PSS))
    if recipe.kind is Kind.CAMVID:
        drive = LabelledFolder.open(data / "camvid" / recipe.subject)
        return Gallery(recipe, drive.subset(_evenly(drive.ids, recipe.photos)))
    folder = LabelledFolder.open(data / "voc2012" / "val")
    return Gallery(recipe, folder.subset(_draw(folder, recipe)))


def _draw(folder: LabelledFolder, recipe: GalleryRecipe) -> list[str]:
    """Up to `recipe.photos` ids of the recipe's half that show nothing but its subject, in a seeded order."""
    wanted = {VOC_CLASSES.index(name) for name in SUBJECTS[recipe.subject]}
    chosen: list[str] = []
    for index in np.random.default_rng(recipe.seed).permutation(len(folder)):
        stem = folder.ids[int(index)]
        if tuning_half(stem) == (recipe.half == "tune") and _shows(folder.label(int(index)), wanted):
            chosen.append(stem)
        if len(chosen) == recipe.photos:
            break
    return chosen


def _evenly(ids: Sequence[str], count: int) -> list[str]:
    """All ids, or `count` of them spread over the drive."""
    positions = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int))
    return [ids[int(position)] for position in positions]


def _shows(label: np.ndarray, wanted: set[int]) -> bool:
    """Whether everything labelled in a photo is of the subject."""
    present = set(np.unique(label).tolist()) - {0, 255}
    return bool(present) and present <= wanted
