"""Pixels counted by pairs of classes, of one photo or of many added up: all that a comparison without labels is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

SMALLEST_SHARE = 0.005
"""A class is told of a photo, and counts in a mean over classes, from this share of the pixels on: below, it is noise."""


@dataclass(frozen=True)
class Counts:
    """Pixels by pairs of classes: row = the class by the one view, column = the class by the other."""

    moved: Int64[np.ndarray, "classes classes"]
    """Base → personal model."""
    moved_sure: Int64[np.ndarray, "classes classes"]
    """The same, of the pixels that the base is sure of."""
    mirror_before: Int64[np.ndarray, "classes classes"]
    """Base → base on the mirrored photo."""
    mirror_after: Int64[np.ndarray, "classes classes"]
    rescale_before: Int64[np.ndarray, "classes classes"]
    """Base → base on the photo at another side; all 0 where nobody looked."""
    rescale_after: Int64[np.ndarray, "classes classes"]
    reference_before: Int64[np.ndarray, "classes classes"]
    """Reference labels → base; all 0 where there were none."""
    reference_after: Int64[np.ndarray, "classes classes"]
    confidence_before: Float64[np.ndarray, "classes classes"]
    """The base's confidence, summed over the pixels of `moved`."""
    confidence_after: Float64[np.ndarray, "classes classes"]
    """The personal model's, over the same pixels."""
    entropy_before: float
    """Of the base's probabilities, in nats, summed over the pixels."""
    entropy_after: float
    photos: int
    sure_photos: Int64[np.ndarray, " classes"]
    """Photos on which the base is sure of the class on at least SMALLEST_SHARE of their pixels."""

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Of no photo."""
        pairs, sums = np.zeros((classes, classes), np.int64), np.zeros((classes, classes))
        return cls(pairs, pairs, pairs, pairs, pairs, pairs, pairs, pairs, sums, sums, 0.0, 0.0, 0, np.zeros(classes, np.int64))

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})

    @property
    def pixels(self) -> int:
        """How many were looked at."""
        return int(self.moved.sum())

    @property
    def changed(self) -> int:
        """Pixels of another class by the personal model."""
        return self.pixels - int(self.moved.trace())

    @property
    def area_before(self) -> Int64[np.ndarray, " classes"]:
        """Pixels of each class by the base."""
        return np.asarray(self.moved.sum(1))

    @property
    def area_after(self) -> Int64[np.ndarray, " classes"]:
        """Pixels of each class by the personal model."""
        return np.asarray(self.moved.sum(0))

    @property
    def sure_before(self) -> Int64[np.ndarray, " classes"]:
        """Pixels of each class that the base is sure of."""
        return np.asarray(self.moved_sure.sum(1))

    @property
    def sure_kept(self) -> Int64[np.ndarray, " classes"]:
        """Those of them that keep their class."""
        return self.moved_sure.diagonal()

    def told(self) -> list[int]:
        """Classes that cover at least SMALLEST_SHARE of the pixels, before or after."""
        largest = np.maximum(self.area_before, self.area_after)
        return [int(index) for index in np.flatnonzero(largest >= SMALLEST_SHARE * max(1, self.pixels))]

    def shown_by_both(self) -> list[int]:
        """Classes that cover at least SMALLEST_SHARE of the pixels, before and after."""
        smallest = np.minimum(self.area_before, self.area_after)
        return [int(index) for index in np.flatnonzero(smallest >= SMALLEST_SHARE * max(1, self.pixels))]


def count_pairs(
    first: Int64[Tensor, "images h w"], second: Int64[Tensor, "images h w"], classes: int, where: Bool[Tensor, "images h w"] | None = None
) -> Int64[np.ndarray, "classes classes"]:
    """Pixels (those in `where`) by their class in both maps."""
    joint = first * classes + second  # (B, H, W), one number a pair
    flat = joint.flatten() if where is None else joint[where]
    return torch.bincount(flat.cpu(), minlength=classes * classes).view(classes, classes).numpy()


def sum_pairs(
    first: Int64[Tensor, "images h w"], second: Int64[Tensor, "images h w"], values: Float[Tensor, "images h w"], classes: int
) -> Float64[np.ndarray, "classes classes"]:
    """`values` summed over the pixels of each pair of classes; on the CPU, where the order of the sum is fixed."""
    flat = (first * classes + second).flatten().cpu()
    return torch.bincount(flat, weights=values.flatten().cpu().double(), minlength=classes * classes).view(classes, classes).numpy()


def photos_showing(labels: Int64[Tensor, "images h w"], where: Bool[Tensor, "images h w"], classes: int) -> Int64[np.ndarray, " classes"]:
    """In how many photos each class has at least SMALLEST_SHARE of the pixels, those in `where` counted."""
    areas = torch.stack([torch.bincount(photo[sure].cpu(), minlength=classes) for photo, sure in zip(labels, where, strict=True)])  # (B, K)
    return (areas >= SMALLEST_SHARE * labels[0].numel()).sum(0).numpy()


def agreement(pairs: Int64[np.ndarray, "classes classes"]) -> float:
    """Share of the pixels that both views give the same class; 0 of no pixel."""
    return int(pairs.trace()) / max(1, int(pairs.sum()))


def iou(pairs: Int64[np.ndarray, "classes classes"], index: int) -> float | None:
    """Intersection over union of one class between the two views; None where neither shows it."""
    both = int(pairs[index, index])
    either = int(pairs[index].sum() + pairs[:, index].sum()) - both
    return both / either if either else None


def mean_iou(pairs: Int64[np.ndarray, "classes classes"], among: Sequence[int]) -> float:
    """Mean of the classes' IoU; 1 where there is none to take a mean of."""
    found = [value for index in among if (value := iou(pairs, index)) is not None]
    return sum(found) / len(found) if found else 1.0
