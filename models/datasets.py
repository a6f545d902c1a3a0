"""Labelled folders, for training the base, for alignment and for scoring: VOC layout, or `images/` + `masks/`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from models.labels import IGNORE

LAYOUTS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))
NESTED = ("", "VOCdevkit/VOC2012", "VOC2012")
"""Where in the given folder the layout may lie: PASCAL's archives unpack to the second."""
LISTS = Path("ImageSets") / "Segmentation"
"""Where PASCAL's lists of ids lie."""
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff"})
MASK_SUFFIXES = frozenset({".png"})
"""How the files may end, in capitals or not."""
MASK_MODES = ("P", "L")


class UnusableFile(ValueError):
    """A photo or mask of a labelled folder is not what it must be. Names the file, and says why."""


@dataclass(frozen=True)
class LabelledFolder:
    """Photos (`STEM.jpg`, or what else ends in PHOTO_SUFFIXES) with masks (`STEM.png`, pixel value = class id, 255 = ignore), read one at
    a time. A photo's id is its STEM.
    """

    root: Path
    photos: Mapping[str, Path]
    masks: Mapping[str, Path]
    ids: Sequence[str]
    classes: int | None = None
    """Where it is known, masks may hold the class ids below it only."""

    @classmethod
    def open(cls, root: Path, ids: Sequence[str] | None = None) -> LabelledFolder:
        """All photos that have a mask, sorted, or just `ids`; `root` is the folder itself or one that PASCAL's archive was unpacked in.

        Raises FileNotFoundError where there is none, ValueError where two files of a folder differ in their suffix alone.
        """
        for base, (photos, masks) in itertools.product((root / nested for nested in NESTED), LAYOUTS):
            if (base / photos).is_dir() and (base / masks).is_dir():
                by_id, mask_by_id = _files(base / photos, PHOTO_SUFFIXES), _files(base / masks, MASK_SUFFIXES)
                found = sorted(by_id.keys() & mask_by_id.keys())
                chosen = found if ids is None else list(ids)
                if missing := set(chosen) - set(found):
                    raise FileNotFoundError(f"{base}: no photo with a mask for {sorted(missing)[:3]}")
                if chosen:
                    return cls(base, by_id, mask_by_id, chosen)
        layouts = " or ".join("/ + ".join(pair) + "/" for pair in LAYOUTS)
        raise FileNotFoundError(f"{root} holds no labelled photos: expected {layouts}, there or in VOCdevkit/VOC2012/")

    @classmethod
    def open_split(cls, root: Path, split: str) -> LabelledFolder:
        """The photos of a list that comes with PASCAL VOC: `train`, `val` or `trainval` in ImageSets/Segmentation.

        Raises FileNotFoundError where the folder has no such list.
        """
        return cls.open(root)._listed(split)

    @classmethod
    def open_list(cls, root: Path, split: str) -> LabelledFolder:
        """The photos of PASCAL's list `split` where the folder has PASCAL's lists, else all. Raises FileNotFoundError, ValueError."""
        folder = cls.open(root)
        return folder._listed(split) if (folder.root / LISTS).is_dir() else folder

    def _listed(self, split: str) -> LabelledFolder:
        path = self.root / LISTS / f"{split}.txt"
        if not path.exists():
            raise FileNotFoundError(f"{self.root} has no list {path.relative_to(self.root)}")
        return LabelledFolder.open(self.root, path.read_text().split())

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, EXIF-upright RGB. Raises UnusableFile."""
        with _readable(self.photos[self.ids[index]]) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))

    def label(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """Class ids, IGNORE where unlabelled. Raises UnusableFile, also for a picture that holds no class ids, or others than `classes`."""
        path = self.masks[self.ids[index]]
        with _readable(path) as image:
            if image.mode not in MASK_MODES:
                raise UnusableFile(f"{path} is a picture of mode {image.mode}: a palette or 8-bit grey PNG of class ids is needed")
            label = np.array(image)
        if self.classes is not None and (unknown := label[(label != IGNORE) & (label >= self.classes)]).size:
            known = f"{self.classes} classes are known, 0 to {self.classes - 1}"
            raise UnusableFile(f"{path} holds class {unknown.max()}: {known}, and {IGNORE} for what has none")
        return label

    def of_classes(self, classes: int) -> LabelledFolder:
        """The same folder, whose masks may hold the class ids below `classes` only."""
        return replace(self, classes=classes)

    def subset(self, ids: Sequence[str]) -> LabelledFolder:
        """The same folder with these photos only."""
        return replace(self, ids=list(ids))


@contextmanager
def _readable(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableFile(f"{path} cannot be read: {error}") from error


def _files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Stem → file, of the files that end so. Raises ValueError for two of one stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in found:
                raise ValueError(f"{found[path.stem].name} and {path.name} in {folder} are of one name: keep one of them")
            found[path.stem] = path
    return found
