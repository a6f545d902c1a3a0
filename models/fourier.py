"""Fourier domain adaptation (Yang and Soatto, arXiv 2004.05498): a photo takes over the low-frequency amplitudes of another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def swap_low_frequencies(
    photos: Float[Tensor, "images 3 h w"], style: Float[Tensor, "images 3 h w"], beta: float
) -> Float[Tensor, "images 3 h w"]:
    """`photos` with the amplitudes of `style` at frequencies up to ⌊β·min(h, w)⌋ on both axes (section 3.1), and with their own phases.

    β in [0, 0.5): 0 takes over the mean of each channel only. The result may leave [0, 255]. Raises ValueError for another β.
    """
    if not 0 <= beta < 0.5:
        raise ValueError(f"beta is {beta}, expected 0 <= beta < 0.5")
    height, width = photos.shape[2:]
    own, other = torch.fft.rfft2(photos), torch.fft.rfft2(style)  # (B, 3, h, w//2 + 1)
    reach = int(beta * min(height, width))
    rows = torch.fft.fftfreq(height, 1 / height, device=photos.device).abs() <= reach
    columns = torch.arange(width // 2 + 1, device=photos.device) <= reach
    low = rows[:, None] & columns[None, :]
    amplitude = torch.where(low, other.abs(), own.abs())
    result: Tensor = torch.fft.irfft2(torch.polar(amplitude, own.angle()), s=(height, width))
    return result
