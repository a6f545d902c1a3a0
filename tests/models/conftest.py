"""Real photographs and the real tiny base for the tests of the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models

PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def photograph(package: str, path: str) -> np.ndarray:
    """A photograph inside an installed wheel: (H, W, 3) uint8."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return np.array(Image.open(Path(spec.origin).parent / path).convert("RGB"))


@dataclass(frozen=True)
class Album:
    """A `models.PhotoSource` in memory."""

    photos: tuple[np.ndarray, ...]

    @property
    def ids(self) -> Sequence[str]:
        return [f"photo-{index}" for index in range(len(self.photos))]

    def load(self, index: int) -> np.ndarray:
        return self.photos[index]


@pytest.fixture(scope="session")
def photos() -> tuple[np.ndarray, ...]:
    found = [photograph(*where) for where in PHOTOGRAPHS if (Path(find_spec(where[0]).origin).parent / where[1]).exists()]
    assert len(found) >= 3, "scikit-image and scikit-learn ship photographs in their wheels"
    return tuple(found)


@pytest.fixture(scope="session")
def album(photos: tuple[np.ndarray, ...]) -> Album:
    """Five photographs, each also mirrored and darker: ten photos."""
    return Album(tuple(photos) + tuple((photo[:, ::-1] * 0.7).astype(np.uint8) for photo in photos))


@pytest.fixture(scope="session")
def tiny() -> models.Base:
    return models.load_base("espnetv2_tiny")


def at_half_the_side(base: models.Base) -> models.Base:
    """It costs a quarter: for tests of what happens, not of how good it is."""
    return replace(base, info=replace(base.info, side=base.info.side // 2))
