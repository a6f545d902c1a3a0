"""Scores against labels (for evaluation only) and agreement between two predictions (label-free)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, UInt8

from models.labels import BACKGROUND, IGNORE

Mask = UInt8[np.ndarray, "height width"]


def confusion(prediction: Mask, label: Mask, classes: int) -> Int64[np.ndarray, "classes classes"]:
    """Pixel counts, rows = label, columns = prediction; pixels labelled IGNORE are left out."""
    valid = label != IGNORE
    pairs = label[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_iou(matrix: Int64[np.ndarray, "classes classes"]) -> dict[int, float]:
    """TP / (TP + FP + FN) in [0, 1] of each class that occurs in the labels."""
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    present = np.flatnonzero(matrix.sum(1))
    return {int(c): float(hits[c] / union[c]) for c in present}


def mean_iou(matrix: Int64[np.ndarray, "classes classes"]) -> float:
    """Mean of `class_iou` in [0, 1] (METHOD, "The task"); nan where no pixel is labelled."""
    scores = class_iou(matrix)
    return float(np.mean(list(scores.values()))) if scores else float("nan")


def foreground_iou(prediction: Mask, label: Mask) -> float | None:
    """FBIoU of one image in [0, 1]: pixels right and not background over pixels that either calls foreground; None where neither does."""
    valid = (label != IGNORE) & (prediction != IGNORE)
    either = valid & ((label != BACKGROUND) | (prediction != BACKGROUND))
    if not either.any():
        return None
    right = valid & (label == prediction) & (label != BACKGROUND)
    return float(right.sum() / either.sum())


@dataclass
class Scorer:
    """Adds up one gallery's scores, image by image."""

    classes: int
    matrix: Int64[np.ndarray, "classes classes"] = field(init=False)
    foreground: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.classes, self.classes), dtype=np.int64)

    def add(self, prediction: Mask, label: Mask) -> None:
        """One labelled image; both masks at the label's own size. Raises ValueError where the sizes differ."""
        if prediction.shape != label.shape:
            raise ValueError(f"prediction is {prediction.shape}, label is {label.shape}: score at the label's own size")
        self.matrix += confusion(prediction, label, self.classes)
        score = foreground_iou(prediction, label)
        if score is not None:
            self.foreground.append(score)

    @property
    def miou(self) -> float:
        """In percent."""
        return 100 * mean_iou(self.matrix)

    @property
    def fbiou(self) -> float:
        """In percent; nan where no image has foreground."""
        return 100 * float(np.mean(self.foreground)) if self.foreground else float("nan")
