"""Photographs that ship inside scikit-image and scikit-learn, cut into a gallery."""

from __future__ import annotations

from pathlib import Path

import skimage
import sklearn
from PIL import Image

_SKIMAGE = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
_SKLEARN = ("china.jpg", "flower.jpg")
_CUTS = 6
_WIDTH = 480


def make_photos(folder: Path) -> list[Path]:
    """Several cuts of each, as JPEG files."""
    sources = [Path(skimage.__file__).parent / "data" / name for name in _SKIMAGE]
    sources += [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in _SKLEARN]
    photos = []
    for source in sources:
        with Image.open(source) as image:
            for cut in range(_CUTS):
                photos.append(_cut(image.convert("RGB"), cut, folder / f"{source.stem}-{cut}.jpg"))
    return photos


def _cut(image: Image.Image, number: int, path: Path) -> Path:
    margin = 4 * number
    part = image.crop((margin, margin, image.width - margin, image.height - margin))
    part.resize((_WIDTH, round(_WIDTH * part.height / part.width))).save(path, quality=90)
    return path
