"""What is done to a photo before it is learned from; values stay RGB in [0, 255]."""

from __future__ import annotations

import numpy as np
import torch
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
