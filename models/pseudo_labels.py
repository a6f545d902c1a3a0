"""Labels for an unlabelled gallery: averaged predictions, of which each class keeps its most confident pixels (METHOD, step 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from models.gallery import network_input, snap
from models.labels import IGNORE
from models.losses import entropy_of
from models.memory import features_in_pieces, nothing
from models.segmenter import Segmenter


class Prediction(NamedTuple):
    """An averaged prediction for a batch of photos, at the stride of the base's logits."""

    labels: UInt8[Tensor, "images h w"]
    confidence: Float[Tensor, "images h w"]
    """Averaged probability of the label, in [0, 1], fp16."""
    entropy: Float[Tensor, " images"]
    """Mean over the photo's pixels of the entropy of the averaged probabilities, in nats."""


def average_predictions(
    segmenter: Segmenter,
    pixels: UInt8[Tensor, "images 3 h w"],
    *,
    side: int,
    scales: tuple[float, ...],
    device: torch.device,
    size: int,
    at_once: int | None = None,
    heed: Callable[[], None] = nothing,
) -> Float[Tensor, "images classes size size"]:
    """Mean class probabilities of a group's photos over scales (times `side`) and mirror images, each pass with the group's context.

    `at_once`: photos that go through the network together; None: all. `heed` is asked before each pass.
    """
    total = torch.zeros(1, device=device)
    for scale in scales:
        x = network_input(pixels, snap(side * scale), device)
        for flipped in (False, True):
            features = features_in_pieces(segmenter.base, x.flip(3) if flipped else x, at_once or len(x), heed)
            logits = segmenter.with_context(features)
            logits = logits.flip(3) if flipped else logits
            total = total + F.interpolate(logits, (size, size), mode="bilinear", align_corners=False).softmax(1)
    return total / (2 * len(scales))


def most_likely(probabilities: Float[Tensor, "images classes h w"]) -> Prediction:
    """The most likely class of each pixel, and how likely it is."""
    confidence, labels = probabilities.max(1)
    entropy = entropy_of(probabilities).mean((1, 2))
    return Prediction(labels.to(torch.uint8).cpu(), confidence.to(torch.float16).cpu(), entropy.float().cpu())


def concatenate(parts: Sequence[Prediction]) -> Prediction:
    """The predictions of several batches as one."""
    return Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))


def easy_photos(entropy: Float[Tensor, " images"], share: float) -> Bool[Tensor, " images"]:
    """The `share` of the photos with the lowest entropy, at least one (METHOD, step 2; IntraDA, arXiv 2004.07703, section 3.2)."""
    easy = torch.zeros(len(entropy), dtype=torch.bool)
    easy[entropy.argsort(stable=True)[: max(1, round(share * len(entropy)))]] = True
    return easy


def class_thresholds(prediction: Prediction, classes: int, keep_share: float, *, balanced: bool = True) -> Float[Tensor, " classes"]:
    """Per class, the confidence that `keep_share` of the gallery's pixels of that class reach (CBST, arXiv 1810.07911, section 4.2).

    Not `balanced`: one threshold for all classes, which `keep_share` of all pixels reach. A class that no pixel was given has
    threshold infinity.
    """
    thresholds = torch.full((classes,), float("inf"))
    for index in range(classes):
        scores = prediction.confidence[prediction.labels == index]
        if scores.numel():
            thresholds[index] = _reached_by(keep_share, scores if balanced else prediction.confidence.flatten())
    return thresholds


def _reached_by(share: float, scores: Float[Tensor, " pixels"]) -> float:
    rank = min(scores.numel() - 1, int((1 - share) * scores.numel()))
    return float(scores.float().kthvalue(rank + 1).values)


def select(prediction: Prediction, thresholds: Float[Tensor, " classes"]) -> UInt8[Tensor, "images h w"]:
    """The label where its confidence reaches the class's threshold, IGNORE elsewhere."""
    selected = prediction.labels.clone()
    for labels, confidence in zip(selected, prediction.confidence, strict=True):  # one at a time: their indices are eight times as large
        labels[confidence.float() < thresholds[labels.long()]] = IGNORE
    return selected
