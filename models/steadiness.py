"""How steady a model is class by class, and how surely a fall of it is more than the luck of which photos were looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from models.comparison import Comparison
from models.counts import Counts, mean_iou

BEFORE, AFTER = ("mirror_before", "rescale_before"), ("mirror_after", "rescale_after")
"""The matrices of `Counts` that say how steady the base and the personal model are, view by view."""
Pairs = Int64[np.ndarray, "classes classes"]


def class_consistency_drop(before: Sequence[Pairs], after: Sequence[Pairs], among: Sequence[int]) -> float:
    """By how much the mean over views of the mean IoU over classes falls, in [−1, 1]; one matrix a view, the views in the same order."""
    return float(np.mean([mean_iou(b, among) - mean_iou(a, among) for b, a in zip(before, after, strict=True)]))


def class_consistency_error(comparison: Comparison) -> float | None:
    """Standard error of the drop of `class_consistency` over the photos looked at, in [0, 1]: the jackknife's.

    √((n − 1)/n · Σ (dᵢ − d̄)²), dᵢ being the drop without photo i (Efron and Stein, Annals of Statistics 9(3), 1981, equation 1.4).
    The classes are those of the whole comparison. None where fewer than two photos are told apart.
    """
    photos = list(comparison.photos.values())
    if len(photos) < 2:
        return None
    among = comparison.total.shown_by_both()
    before, after = ([_without_each(photos, name) for name in names] for names in (BEFORE, AFTER))
    drops = [
        class_consistency_drop([view[index] for view in before], [view[index] for view in after], among) for index in range(len(photos))
    ]
    count = len(drops)
    return float(np.sqrt((count - 1) / count * np.square(np.array(drops) - np.mean(drops)).sum()))


def _without_each(photos: Iterable[Counts], name: str) -> Int64[np.ndarray, "photos classes classes"]:
    """The sum of a matrix over all photos but the first, all but the second, and so on."""
    each = np.stack([getattr(counts, name) for counts in photos])
    return np.asarray(each.sum(0) - each)
