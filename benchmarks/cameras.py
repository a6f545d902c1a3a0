"""Simulated cameras: what one person's camera does to all of their photos. uint8 RGB in, uint8 RGB out; deterministic for a seed."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Camera = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def untouched(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The photo as it is."""
    return photo


def low_light(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dark (gamma 1.8, a third of the light) with shot and read noise."""
    light = (photo / 255.0) ** 1.8 * 0.33
    noisy = light + rng.normal(0, 1, photo.shape) * np.sqrt(0.0006 * light + 0.0003)
    return _as_bytes(255 * noisy)


def haze(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bright veil over everything: contrast 40 %."""
    return _as_bytes(0.4 * photo + 0.6 * 205)


def blur(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: Gaussian of 3.5 pixels at 480."""
    radius = 3.5 * max(photo.shape[:2]) / 480
    return np.array(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius)))


def webcam(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """160 pixels wide, noisy, JPEG quality 20, back to its size."""
    image = Image.fromarray(photo)
    scale = 160 / max(image.size)
    small = image.resize((max(8, round(image.width * scale)), max(8, round(image.height * scale))), Image.Resampling.BILINEAR)
    noisy = _as_bytes(np.array(small) + rng.normal(0, 8, (small.height, small.width, 3)))
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=20)
    return np.array(Image.open(buffer).convert("RGB").resize(image.size, Image.Resampling.BILINEAR))


def warm(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lamp's cast: red up, blue down."""
    return _as_bytes(photo * np.array([1.25, 0.95, 0.55]))


def cold(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A screen's cast: blue up, red down."""
    return _as_bytes(photo * np.array([0.6, 0.95, 1.3]))


def grey(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black and white."""
    return np.repeat(np.array(Image.fromarray(photo).convert("L"))[..., None], 3, axis=2)


CAMERAS: dict[str, Camera] = {
    "untouched": untouched,
    "low_light": low_light,
    "haze": haze,
    "blur": blur,
    "webcam": webcam,
    "warm": warm,
    "cold": cold,
    "grey": grey,
}
