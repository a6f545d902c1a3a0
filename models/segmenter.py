"""Base network + inter-image context = logits.

The context's correction counts where the base is in doubt (ours, docs/decisions/0002): it is multiplied by 2·(1 − p), p being the base's
probability of its most likely class, so that no context talks the base out of what it is sure of.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.bases.network import BaseNetwork
from models.context import InterImageContext
from models.nonparametric_context import NonParametricContext
from models.types import Features


class Output(NamedTuple):
    """Logits of one forward pass, and what they were made from."""

    logits: Float[Tensor, "images classes hl wl"]
    features: Features


class Segmenter(nn.Module):
    """A base network with the context module on top."""

    base: BaseNetwork
    context: InterImageContext | NonParametricContext

    def __init__(self, base: BaseNetwork, context: InterImageContext | NonParametricContext) -> None:
        super().__init__()
        self.base, self.context = base, context
        self.use_context = True

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
        *,
        damped: bool = True,
    ) -> Float[Tensor, "images classes hl wl"]:
        """The logits for features that the base has given already; `damped=False` leaves the doubt out (to train the context).

        The base's own where `use_context` is off.
        """
        own = features.logits
        if not self.use_context:
            return own
        correction = self.context(features, groups, bank, visible)
        correction = F.interpolate(correction, (own.shape[2], own.shape[3]), mode="bilinear", align_corners=False)
        return torch.addcmul(own, doubt(own), correction) if damped else own + correction


def doubt(logits: Float[Tensor, "images classes h w"]) -> Float[Tensor, "images 1 h w"]:
    """2·(1 − p) of the most likely class, in [0, 2): 0 where the base is certain, 1 where it gives it an even chance. Has no gradient."""
    found = logits.detach()
    odds = (found - found.amax(1, keepdim=True)).exp_().sum(1, keepdim=True)  # 1 / p: as softmax does it, but in channels_last's order
    return 2 * (1 - odds.reciprocal())


def freeze_batch_norm(module: nn.Module) -> None:
    """Batch norm keeps its statistics whatever the mode (METHOD, "What is known to go wrong"); its scale and shift still learn."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
