"""What is done to a photo before it is learned from; values stay RGB in [0, 255]."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

BRIGHTNESS = CONTRAST = 0.2  # ours: relative
TINT = 0.08  # ours: relative, per channel


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
