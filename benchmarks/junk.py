"""Galleries that nothing can be learned from; no labels. The outcome must be `refused` or unchanged, never an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = (320, 240)
"""Width and height of a junk photo, in pixels."""


def black(rng: np.random.Generator) -> np.ndarray:
    """The lens cap was on."""
    return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def noise(rng: np.random.Generator) -> np.ndarray:
    """Every value of every pixel at random."""
    return rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def text(rng: np.random.Generator) -> np.ndarray:
    """A screenshot of text: black words on white."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
    for top in range(8, SIZE[1] - 12, 14):
        draw.text((8, top), "".join(rng.choice(letters, 48)), fill="black")
    return np.array(image)


def sky(rng: np.random.Generator) -> np.ndarray:
    """Nothing but a clear sky: a gradient of blue, a little different each time."""
    top, bottom = rng.uniform(0.8, 1.2, (2, 1)) * np.array([[60, 110, 190], [150, 185, 220]])
    rows = np.linspace(0, 1, SIZE[1])[:, None]
    return np.repeat(np.clip(top + rows * (bottom - top), 0, 255).astype(np.uint8)[:, None], SIZE[0], axis=1)


def scene(rng: np.random.Generator) -> np.ndarray:
    """Something like a photo for the galleries of one photo: a sky, a ground and a few discs."""
    image = Image.fromarray(sky(rng))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, SIZE[1] * 2 // 3, *SIZE), fill=(70, 110, 50))
    for _ in range(4):
        x, y, radius = (int(rng.integers(*span)) for span in ((20, SIZE[0] - 20), (SIZE[1] // 2, SIZE[1] - 20), (10, 40)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return np.array(image)


MAKERS = {"one_photo": scene, "copies": scene, "black": black, "noise": noise, "text": text, "sky": sky}


@dataclass(frozen=True)
class JunkGallery:
    """`count` junk photos of a kind (a key of MAKERS); `one_photo` has one, `copies` has the same one `count` times."""

    kind: str
    count: int
    seed: int

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids."""
        return [f"{self.kind}-{index}" for index in range(1 if self.kind == "one_photo" else self.count)]

    @property
    def scored(self) -> Sequence[int]:
        """None: there is nothing to find."""
        return ()

    def load(self, index: int) -> np.ndarray:
        """The photo: (H, W, 3) uint8."""
        return MAKERS[self.kind](np.random.default_rng([self.seed, 0 if self.kind == "copies" else index]))

    def label(self, index: int) -> np.ndarray:
        """Raises LookupError: junk has no labels."""
        raise LookupError(f"junk photo {self.ids[index]} has no label")
