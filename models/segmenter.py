"""Base network + inter-image context = logits."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.context import InterImageContext
from models.types import Features


class Output(NamedTuple):
    """Logits of one forward pass, and what they were made from."""

    logits: Float[Tensor, "images classes h2 w2"]
    features: Features


class Segmenter(nn.Module):
    """A base network (anything whose forward gives `Features`) with the context module on top."""

    def __init__(self, base: nn.Module, context: InterImageContext) -> None:
        super().__init__()
        self.base, self.context = base, context

    def forward(
        self,
        x: Float[Tensor, "images 3 height width"],
        groups: Int[Tensor, " images"] | None = None,
        bank: Float[Tensor, "remembered channels"] | None = None,
        visible: Bool[Tensor, "images proxies"] | None = None,
    ) -> Output:
        """Arguments as for `InterImageContext.forward`; `features.logits` are the base's own, without context."""
        features: Features = self.base(x)
        return Output(self.with_context(features, groups, bank, visible), features)

    def with_context(
        self,
        features: Features,
        groups: Int[Tensor, " images"] | None = None,
        bank: Float[Tensor, "remembered channels"] | None = None,
        visible: Bool[Tensor, "images proxies"] | None = None,
    ) -> Float[Tensor, "images classes h2 w2"]:
        """The logits for features that the base has given already."""
        correction = self.context(features, groups, bank, visible)
        size = (features.logits.shape[2], features.logits.shape[3])
        return features.logits + F.interpolate(correction, size, mode="bilinear", align_corners=False)


def freeze_batch_norm(module: nn.Module) -> None:
    """Batch norm keeps its statistics whatever the mode (METHOD, "What is known to go wrong"); its scale and shift still learn."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
