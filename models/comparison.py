"""The base and a personal model side by side on photos of a gallery, without a label: counts for the guard and for the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.config import GuardLimits
from models.labels import BACKGROUND


@dataclass
class Comparison:
    """Running counts over the photos looked at."""

    classes: int
    confident_limit: float

    def __post_init__(self) -> None:
        self.confident = self.kept = self.pixels = 0
        self.consistent_before = self.consistent_after = self.changed = 0
        self.area_before = np.zeros(self.classes, dtype=np.int64)
        self.area_after = np.zeros(self.classes, dtype=np.int64)
        self.sure_before = np.zeros(self.classes, dtype=np.int64)
        self.sure_kept = np.zeros(self.classes, dtype=np.int64)
        self.entropy_before = self.entropy_after = 0.0

    def add(self, before: Views, after: Views) -> None:
        """Adds a batch's views by the base and by the personal model."""
        confidence, base_label = before.probabilities.max(1)
        personal_label = after.probabilities.argmax(1)
        sure = confidence >= self.confident_limit
        self.confident += int(sure.sum())
        self.kept += int((sure & (base_label == personal_label)).sum())
        self.pixels += base_label.numel()
        self.changed += int((base_label != personal_label).sum())
        self.consistent_before += int((base_label == before.mirrored).sum())
        self.consistent_after += int((personal_label == after.mirrored).sum())
        self.area_before += self._areas(base_label)
        self.area_after += self._areas(personal_label)
        self.sure_before += self._areas(base_label[sure])
        self.sure_kept += self._areas(base_label[sure & (base_label == personal_label)])
        self.entropy_before += float(_entropy(before.probabilities).sum())
        self.entropy_after += float(_entropy(after.probabilities).sum())

    def _areas(self, labels: Tensor) -> Int64[np.ndarray, " classes"]:
        return torch.bincount(labels.flatten(), minlength=self.classes).cpu().numpy()

    def figures(self) -> dict[str, float]:
        """All in [0, 1] but the entropies (nats per pixel)."""
        pixels = max(1, self.pixels)
        return {
            "confident_agreement": self.kept / self.confident if self.confident else 1.0,
            "confident_share": self.confident / pixels,
            "changed_share": self.changed / pixels,
            "consistency_before": self.consistent_before / pixels,
            "consistency_after": self.consistent_after / pixels,
            "background_before": float(self.area_before[BACKGROUND]) / pixels,
            "background_after": float(self.area_after[BACKGROUND]) / pixels,
            "entropy_before": self.entropy_before / pixels,
            "entropy_after": self.entropy_after / pixels,
        }

    def collapsed(self, limits: GuardLimits) -> list[int]:
        """Classes that the base surely sees and the personal model all but stopped seeing.

        Only pixels that the base is sure of count: a class that it merely guessed at may vanish, which is often the gain.
        """
        large = self.sure_before >= limits.collapse_from_share * max(1, self.pixels)
        gone = self.sure_kept < limits.collapse_to_ratio * self.sure_before
        return [int(index) for index in np.flatnonzero(large & gone)]


@dataclass(frozen=True)
class Views:
    """A model's prediction for a batch, and its most likely classes from the mirrored photos, mirrored back."""

    probabilities: Float[Tensor, "images classes h w"]
    mirrored: Tensor


def views(forward: Callable[[Tensor], Tensor], x: Float[Tensor, "images 3 h w"]) -> Views:
    """Both views of a batch by `forward` (input to logits)."""
    return Views(forward(x).softmax(1), forward(x.flip(3)).flip(3).argmax(1))


def _entropy(probabilities: Float[Tensor, "images classes h w"]) -> Float[Tensor, "images h w"]:
    return -(probabilities * probabilities.clamp(min=1e-9).log()).sum(1)
