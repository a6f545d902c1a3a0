"""The segmenter with its context as the survey's forward function."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.survey.interface import Forward
from models.segmenter import Segmenter


def alone(segmenter: Segmenter) -> Forward:
    """Logits with context, each photo of a batch by itself."""

    def forward(x: Float[Tensor, "images 3 h w"]) -> Float[Tensor, "images classes h2 w2"]:
        return segmenter(x, groups=torch.arange(len(x), device=x.device)).logits  # type: ignore[no-any-return]

    return forward
