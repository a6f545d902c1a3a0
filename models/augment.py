"""What is done to a photo before it is learned from; values stay RGB in [0, 255]."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

BRIGHTNESS = CONTRAST = 0.2  # ours: relative
TINT = 0.08  # ours: relative, per channel
FEWER_PIXELS, LESS_COLOUR, MORE_NOISE = 0.3, 0.2, 0.3  # ours: how often
MIXED_SHARE = 0.5  # ours: how many photos get a piece of another one


def jitter_color(pixels: Float[Tensor, "3 h w"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Mild random brightness, contrast and tint."""
    tint = torch.from_numpy(rng.uniform(1 - TINT, 1 + TINT, (3, 1, 1)).astype(np.float32)) * float(
        rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)
    )
    mean = pixels.mean()
    return (((pixels - mean) * float(rng.uniform(1 - CONTRAST, 1 + CONTRAST)) + mean) * tint).clamp(0, 255)


def maybe_flip(
    pixels: Float[Tensor, "3 h w"], labels: Int64[Tensor, "h2 w2"], rng: np.random.Generator
) -> tuple[Float[Tensor, "3 h w"], Int64[Tensor, "h2 w2"]]:
    """Mirrors photo and labels together, every second time."""
    return (pixels.flip(2), labels.flip(1)) if rng.random() < 0.5 else (pixels, labels)


def disturb(pixels: Float[Tensor, "3 h w"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Sometimes fewer pixels, less colour, more noise: what is learned must not hang on detail (FixMatch's strong views, 2001.07685)."""
    if rng.random() < FEWER_PIXELS:
        small = F.interpolate(pixels[None], scale_factor=1 / float(rng.uniform(1.2, 2.0)), mode="bilinear", antialias=True)
        pixels = F.interpolate(small, (pixels.shape[1], pixels.shape[2]), mode="bilinear")[0]
    if rng.random() < LESS_COLOUR:
        pixels = torch.lerp(pixels, pixels.mean(0, keepdim=True).expand_as(pixels), float(rng.uniform(0.5, 1.0)))
    if rng.random() < MORE_NOISE:
        noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), dtype=np.float32))
        pixels = (pixels + noise * float(rng.uniform(2.0, 10.0))).clamp(0, 255)
    return pixels


def mix_pieces(
    photos: Float[Tensor, "photos 3 side side"], labels: Int64[Tensor, "photos size size"], rng: np.random.Generator
) -> tuple[Float[Tensor, "photos 3 side side"], Int64[Tensor, "photos size size"]]:
    """Every second photo gets a rectangle of another one, with its labels (CutMix for segmentation, arXiv 1906.01916, section 4)."""
    if len(photos) < 2:
        return photos, labels
    side, size = photos.shape[2], labels.shape[1]
    donors = rng.permutation(len(photos))
    mixed, mixed_labels = photos.clone(), labels.clone()
    for index, donor in enumerate(donors):
        if rng.random() < MIXED_SHARE:
            (top, bottom), (left, right) = (_span(size, rng) for _ in range(2))  # in pixels of the labels
            mixed_labels[index, top:bottom, left:right] = labels[donor, top:bottom, left:right]
            rows, columns = (slice(round(a * side / size), round(b * side / size)) for a, b in ((top, bottom), (left, right)))
            mixed[index, :, rows, columns] = photos[donor, :, rows, columns]
    return mixed, mixed_labels


def _span(size: int, rng: np.random.Generator) -> tuple[int, int]:
    """30 to 60 % of `size`, anywhere."""
    length = int(size * rng.uniform(0.3, 0.6))
    start = int(rng.integers(0, size - length + 1))
    return start, start + length


CAMERA_SHARE = 0.6  # ours: how many photos are seen through another camera


def simulate_camera(pixels: Float[Tensor, "3 h w"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Sometimes one of: evening light with noise, haze, defocus, a colour cast, black and white; of random strength."""
    if rng.random() >= CAMERA_SHARE:
        return pixels
    strength = float(rng.uniform(0.3, 1.0))
    kind = rng.choice(["dark", "haze", "blur", "cast", "grey"])
    if kind == "dark":
        noise = torch.from_numpy(rng.normal(0, 8 * strength, tuple(pixels.shape)).astype(np.float32))
        return ((pixels / 255) ** (1 + 0.8 * strength) * 255 * (1 - 0.65 * strength) + noise).clamp(0, 255)
    if kind == "haze":
        return pixels * (1 - 0.6 * strength) + 205 * 0.6 * strength
    if kind == "blur":
        small = F.interpolate(pixels[None], scale_factor=1 / (1 + 3 * strength), mode="bilinear", antialias=True)
        return F.interpolate(small, pixels.shape[1:], mode="bilinear")[0]
    if kind == "cast":
        gains = torch.from_numpy(1 + strength * rng.uniform(-0.45, 0.3, (3, 1, 1)).astype(np.float32))
        return (pixels * gains).clamp(0, 255)
    return torch.lerp(pixels, pixels.mean(0, keepdim=True).expand_as(pixels), strength)
