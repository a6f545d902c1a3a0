"""Labelled folders, for training the base and for scoring: VOC layout, or `images/` + `masks/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

LAYOUTS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))


@dataclass(frozen=True)
class LabelledFolder:
    """Photos (`STEM.jpg`) with masks (`STEM.png`, pixel value = class id, 255 = ignore), read one at a time."""

    root: Path
    photos: Path
    masks: Path
    ids: Sequence[str]

    @classmethod
    def open(cls, root: Path, ids: Sequence[str] | None = None) -> LabelledFolder:
        """All photos of `root` that have a mask, sorted, or just `ids`. Raises FileNotFoundError where there is none."""
        for photos, masks in LAYOUTS:
            if (root / photos).is_dir() and (root / masks).is_dir():
                labelled = {mask.stem for mask in (root / masks).glob("*.png")}
                found = sorted(photo.stem for photo in (root / photos).glob("*.jpg") if photo.stem in labelled)
                chosen = found if ids is None else list(ids)
                if missing := set(chosen) - set(found):
                    raise FileNotFoundError(f"{root}: no photo with a mask for {sorted(missing)[:3]}")
                if chosen:
                    return cls(root, root / photos, root / masks, chosen)
        raise FileNotFoundError(f"{root} holds no labelled photos: expected {' or '.join('/ + '.join(pair) + '/' for pair in LAYOUTS)}")

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, EXIF-upright RGB."""
        with Image.open(self.photos / f"{self.ids[index]}.jpg") as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))

    def label(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """Class ids, IGNORE where unlabelled."""
        with Image.open(self.masks / f"{self.ids[index]}.png") as image:
            return np.array(image)

    def subset(self, ids: Sequence[str]) -> LabelledFolder:
        """The same folder with these photos only."""
        return LabelledFolder(self.root, self.photos, self.masks, list(ids))
