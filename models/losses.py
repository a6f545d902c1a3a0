"""Losses: pure functions of logits and labels."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from models.labels import IGNORE


def masked_cross_entropy(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h w"]) -> Float[Tensor, ""]:
    """Mean of −log p(label) in nats over the pixels that have a label; 0 (with a gradient of 0) where none has."""
    labelled = (labels != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / labelled


def divergence(logits: Float[Tensor, "images classes h w"], reference: Float[Tensor, "images classes h w"]) -> Float[Tensor, ""]:
    """Mean over pixels of KL(reference ‖ softmax(logits)) in nats; `reference` holds probabilities."""
    return F.kl_div(logits.log_softmax(1), reference, reduction="none").sum(1).mean()
