"""A photo to the network's input, and the network's output back to the photo's own size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def shrink(photo: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[Tensor, "3 side side"]:
    """The photo squashed to a square of `side` pixels (antialiased bilinear), as the base was trained and scored."""
    pixels = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)[0]


def normalize(pixels: UInt8[Tensor, "images 3 h w"] | Float[Tensor, "images 3 h w"]) -> Float[Tensor, "images 3 h w"]:
    """RGB in [0, 255] to ImageNet-normalised float32, channels last (the layout in which ESPNetv2 runs fastest on a CPU)."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def denormalize(x: Float[Tensor, "images 3 h w"]) -> UInt8[Tensor, "images 3 h w"]:
    """What `normalize` was given, rounded."""
    mean = torch.tensor(IMAGENET_MEAN, device=x.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=x.device).view(1, 3, 1, 1) * 255
    return (x * std + mean).round().clamp(0, 255).to(torch.uint8)


def enlarge(values: Float[Tensor, "channels h w"], size: tuple[int, int]) -> Float[Tensor, "channels height width"]:
    """Logits or probabilities at the photo's own (height, width), bilinear."""
    return F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
