"""The PSS data set's own layout (METHOD, "The task"): `idN/JPEGImages`, `idN/SegmentationClass`, `idN/val_all.txt`.

The data set is given out by its authors on request. A method adapts to all photos of a user; only those listed in `val_all.txt` are
labelled and scored. `train_clusterK.txt` holds the authors' grouping; it is not read, because every method here groups by itself or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


@dataclass(frozen=True)
class PssUser:
    """One user: all photos of `JPEGImages`, of which some are labelled."""

    root: Path
    ids: Sequence[str]
    scored: Sequence[int]

    def load(self, index: int) -> np.ndarray:
        """The photo, EXIF-upright RGB: (H, W, 3) uint8."""
        with Image.open(self.root / "JPEGImages" / f"{self.ids[index]}.jpg") as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))

    def label(self, index: int) -> np.ndarray:
        """VOC class ids, 255 = ignore: (H, W) uint8."""
        with Image.open(self.root / "SegmentationClass" / f"{self.ids[index]}.png") as image:
            return np.array(image)


def listed_ids(path: Path) -> list[str]:
    """The photo ids of a list: one a line, bare (`x`) or as a path in the line's first column (`/JPEGImages/x.jpg …`)."""
    return [Path(line.split()[0]).stem if "/" in line else line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def open_user(root: Path) -> PssUser:
    """A user's folder. Raises FileNotFoundError where a part of the layout, or a listed photo or mask, is missing."""
    for name in ("JPEGImages", "SegmentationClass", "val_all.txt"):
        if not (root / name).exists():
            raise FileNotFoundError(f"{root} is not a PSS user: {name} is missing")
    ids = sorted(path.stem for path in (root / "JPEGImages").glob("*.jpg"))
    position = {stem: index for index, stem in enumerate(ids)}
    labelled = listed_ids(root / "val_all.txt")
    missing = [stem for stem in labelled if stem not in position or not (root / "SegmentationClass" / f"{stem}.png").exists()]
    if missing or not labelled:
        raise FileNotFoundError(f"{root}/val_all.txt lists {missing[:3] or 'nothing'} without a photo and a mask")
    return PssUser(root, ids, [position[stem] for stem in dict.fromkeys(labelled)])


def users(root: Path) -> list[str]:
    """The users' folder names, `id1` first. Raises FileNotFoundError where there is none."""
    found = [path.name for path in root.glob("id*") if re.fullmatch(r"id\d+", path.name) and path.is_dir()]
    if not found:
        raise FileNotFoundError(f"{root} holds no folder id1, id2, …: not the PSS data set")
    return sorted(found, key=lambda name: int(name[2:]))
