"""A gallery as the method sees it: small copies of the photos, read once."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from models.preprocess import normalize

STRIDE = 32  # pixels; sides of inputs are multiples of it, so that every stride of a base divides them


def snap(side: float | int) -> int:
    """The multiple of STRIDE nearest to `side`."""
    return max(STRIDE, round(side / STRIDE) * STRIDE)


def resize_batch(pixels: UInt8[Tensor, "images 3 h w"], side: int) -> UInt8[Tensor, "images 3 side side"]:
    """Small copies at another side."""
    if pixels.shape[2] == side and pixels.shape[3] == side:
        return pixels
    return torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)


def network_input(pixels: UInt8[Tensor, "images 3 h w"], side: int, device: torch.device) -> Float[Tensor, "images 3 side side"]:
    """Small copies as the network's input."""
    return normalize(resize_batch(pixels, side)).to(device)
