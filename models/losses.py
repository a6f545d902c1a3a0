"""Losses: pure functions of logits and labels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from models.labels import IGNORE


def masked_cross_entropy(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h w"]) -> Float[Tensor, ""]:
    """Mean of −log p(label) in nats over the pixels that have a label; 0 (with a gradient of 0) where none has."""
    labelled = (labels != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / labelled


def unlabelled_divergence(
    logits: Float[Tensor, "images classes h w"], reference: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h2 w2"]
) -> Float[Tensor, ""]:
    """Mean of KL(reference ‖ softmax(logits)) in nats over the pixels that have no label; `reference` holds probabilities.

    The labels are looked at on the logits' grid (nearest). 0 (with a gradient of 0) where every pixel has a label.
    """
    small = F.interpolate(labels[:, None].float(), (logits.shape[2], logits.shape[3]), mode="nearest")[:, 0]
    unlabelled = (small == IGNORE).float()
    apart = F.kl_div(logits.log_softmax(1), reference, reduction="none").sum(1)
    return (apart * unlabelled).sum() / unlabelled.sum().clamp(min=1)


def divergence(logits: Float[Tensor, "images classes h w"], reference: Float[Tensor, "images classes h w"]) -> Float[Tensor, ""]:
    """Mean over pixels of KL(reference ‖ softmax(logits)) in nats; `reference` holds probabilities."""
    return F.kl_div(logits.log_softmax(1), reference, reduction="none").sum(1).mean()


def entropy_of(probabilities: Float[Tensor, "images classes h w"]) -> Float[Tensor, "images h w"]:
    """Shannon entropy of each pixel's probabilities in nats, in [0, log K]."""
    return -(probabilities * probabilities.clamp(min=1e-9).log()).sum(1)


def pixel_entropy(logits: Float[Tensor, "images classes h w"]) -> Float[Tensor, "images h w"]:
    """Shannon entropy of each pixel's softmax in nats, in [0, log K]."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def entropy_loss(logits: Float[Tensor, "images classes h w"]) -> Float[Tensor, ""]:
    """Mean over pixels of the entropy divided by log K, in [0, 1] (MinEnt, arXiv 1811.12833, section 3.1)."""
    return pixel_entropy(logits).mean() / math.log(logits.shape[1])


def robust_entropy_loss(logits: Float[Tensor, "images classes h w"], eta: float = 2.0) -> Float[Tensor, ""]:
    """Mean over pixels of ρ(entropy / log K) with ρ(x) = (x² + 0.001²)^η (FDA, arXiv 2004.05498, section 3.2).

    η > 0.5 weighs uncertain pixels more than certain ones.
    """
    normalised = pixel_entropy(logits) / math.log(logits.shape[1])
    return ((normalised**2 + 0.001**2) ** eta).mean()


def max_square_loss(logits: Float[Tensor, "images classes h w"], balance: float = 0.2) -> Float[Tensor, ""]:
    """−Σ p² / 2 over pixels and classes, each pixel weighted by 1 / (N_c^α · N^(1−α)); mean over images.

    Maximum squares loss with image-wise class balance (arXiv 1909.13589, section 3). N: pixels of the image; N_c: those with the pixel's
    own most likely class; α = `balance`: 0 is the plain mean over pixels, larger values favour rare classes. Lower is more certain.
    """
    probabilities = logits.softmax(1)
    images, classes = logits.shape[:2]
    with torch.no_grad():
        winner = probabilities.argmax(1).flatten(1)  # (B, HW)
        counts = F.one_hot(winner, classes).sum(1).gather(1, winner).float()  # (B, HW): N_c of each pixel's class
        weights = 1 / (counts**balance * winner.shape[1] ** (1 - balance))
    squares = probabilities.square().sum(1).flatten(1)
    total: Tensor = (weights * squares).sum()
    return -total / (2 * images)


def soft_cross_entropy(logits: Float[Tensor, "images classes h w"], reference: Float[Tensor, "images classes h w"]) -> Float[Tensor, ""]:
    """Mean over pixels of −Σ q·log p in nats; `reference` holds the probabilities q (CoTTA, arXiv 2203.13591, section 3)."""
    return -(reference * logits.log_softmax(1)).sum(1).mean()
