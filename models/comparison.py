"""The base and a personal model side by side on photos of a gallery, without a label: figures for the guard and for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from models.counts import SMALLEST_SHARE, Counts, agreement, count_pairs, iou, mean_iou, photos_showing, sum_pairs
from models.labels import BACKGROUND
from models.losses import entropy_of

CONFIDENT = 0.9
"""From this probability on a model counts as sure of a pixel's class (ours)."""


@dataclass(frozen=True)
class Views:
    """A model's prediction for a batch, and its most likely classes from other views of the same photos, brought back in place."""

    probabilities: Float[Tensor, "images classes h w"]
    mirrored: Int64[Tensor, "images h w"]
    """From the mirrored photos, mirrored back."""
    rescaled: Int64[Tensor, "images h w"] | None = None
    """From the photos at another side, resized back; None where the caller did not look."""


def views(forward: Callable[[Tensor], Tensor], x: UInt8[Tensor, "images 3 h w"] | Float[Tensor, "images 3 h w"]) -> Views:
    """Both views of a batch by `forward` (whatever it takes → logits)."""
    return Views(forward(x).softmax(1), forward(x.flip(3)).flip(3).argmax(1))


def count(before: Views, after: Views, confident_limit: float, reference: Int64[Tensor, "images h w"] | None = None) -> Counts:
    """A batch's views by the base and by the personal model, counted; the base is sure from the confidence `confident_limit` on."""
    classes = before.probabilities.shape[1]
    confidence_before, base = before.probabilities.max(1)
    confidence_after, personal = after.probabilities.max(1)
    sure = confidence_before >= confident_limit
    unseen = np.zeros((classes, classes), np.int64)
    return Counts(
        moved=count_pairs(base, personal, classes),
        moved_sure=count_pairs(base, personal, classes, where=sure),
        mirror_before=count_pairs(base, before.mirrored, classes),
        mirror_after=count_pairs(personal, after.mirrored, classes),
        rescale_before=unseen if before.rescaled is None else count_pairs(base, before.rescaled, classes),
        rescale_after=unseen if after.rescaled is None else count_pairs(personal, after.rescaled, classes),
        reference_before=unseen if reference is None else count_pairs(reference, base, classes),
        reference_after=unseen if reference is None else count_pairs(reference, personal, classes),
        confidence_before=sum_pairs(base, personal, confidence_before, classes),
        confidence_after=sum_pairs(base, personal, confidence_after, classes),
        entropy_before=float(entropy_of(before.probabilities).sum()),
        entropy_after=float(entropy_of(after.probabilities).sum()),
        photos=len(base),
        sure_photos=photos_showing(base, sure, classes),
    )


class Comparison:
    """What the photos looked at say, photo by photo and added up."""

    def __init__(self, classes: int, confident_limit: float = CONFIDENT) -> None:
        self.confident_limit = confident_limit
        self.total = Counts.none(classes)
        self.photos: dict[str, Counts] = {}
        """Photo id → its counts, in the order in which they were added."""

    def add(
        self, before: Views, after: Views, *, photo_id: str | None = None, reference: Int64[Tensor, "images h w"] | None = None
    ) -> None:
        """Adds views by the base and by the personal model: of one photo where its id is given, else of a batch of any size.

        `reference`: labels that both are compared with, e.g. the averaged predictions.
        """
        counts = count(before, after, self.confident_limit, reference)
        if photo_id is not None:
            if len(before.probabilities) != 1 or photo_id in self.photos:
                raise ValueError(f"Photo {photo_id!r} must be added once and alone, not in a batch of {len(before.probabilities)}.")
            self.photos[photo_id] = counts
        self.total += counts

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The photos' counts, photo by photo, for a checkpoint; their ids are the keys of `photos`."""
        return {
            name: np.stack([np.asarray(getattr(counts, name)) for counts in self.photos.values()])
            for name in (field.name for field in fields(Counts))
            if self.photos
        }

    def restore(self, photo_ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
        """Puts `to_arrays`'s counts back into an empty comparison, in their order."""
        for index, photo_id in enumerate(photo_ids):
            values: dict[str, Any] = {
                name: stacked[index] if stacked.ndim > 1 else stacked[index].item() for name, stacked in arrays.items()
            }
            self.photos[photo_id] = Counts(**values)
            self.total += self.photos[photo_id]

    def figures(self) -> dict[str, float]:
        """Over all photos; all in [0, 1] but the entropies (nats per pixel). `rescale_…` and `reference_…` only where the caller looked.

        The `miou`s are means over the classes that both models show, so that before and after compare the same classes.
        """
        total, pixels, shown = self.total, max(1, self.total.pixels), self.total.shown_by_both()
        sure = int(total.moved_sure.sum())
        figures = {
            "confident_agreement": int(total.sure_kept.sum()) / sure if sure else 1.0,
            "confident_share": sure / pixels,
            "changed_share": total.changed / pixels,
            "consistency_before": agreement(total.mirror_before),
            "consistency_after": agreement(total.mirror_after),
            "mirror_miou_before": mean_iou(total.mirror_before, shown),
            "mirror_miou_after": mean_iou(total.mirror_after, shown),
            "background_before": float(total.area_before[BACKGROUND]) / pixels,
            "background_after": float(total.area_after[BACKGROUND]) / pixels,
            "entropy_before": total.entropy_before / pixels,
            "entropy_after": total.entropy_after / pixels,
        }
        for name, pairs in (("before", total.rescale_before), ("after", total.rescale_after)):
            if pairs.any():
                rescaled, mirrored = mean_iou(pairs, shown), figures[f"mirror_miou_{name}"]
                figures |= {f"rescale_consistency_{name}": agreement(pairs), f"rescale_miou_{name}": rescaled}
                figures[f"class_consistency_{name}"] = (mirrored + rescaled) / 2
        for name, pairs in (("before", total.reference_before), ("after", total.reference_after)):
            if pairs.any():
                told = [int(i) for i in np.flatnonzero(pairs.sum(1) >= SMALLEST_SHARE * pixels)]
                figures |= {f"reference_agreement_{name}": agreement(pairs), f"reference_miou_{name}": mean_iou(pairs, told)}
        return figures

    def per_class(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """JSON: each class that a pixel has before or after. Areas are shares of all pixels; None = nothing to take a mean of."""
        found = np.flatnonzero(self.total.area_before + self.total.area_after).tolist()
        return [{"id": index, "name": class_names[index], **_class_figures(self.total, index)} for index in found]

    def per_photo(self) -> list[dict[str, Any]]:
        """JSON: each photo that came with its id. Shares of the photo's pixels; its classes but for slivers."""
        return [{"id": photo_id, **_photo_figures(counts)} for photo_id, counts in self.photos.items()]


def _class_figures(total: Counts, index: int) -> dict[str, float | None]:
    pixels = max(1, total.pixels)
    before, after = int(total.area_before[index]), int(total.area_after[index])
    sure, kept = int(total.sure_before[index]), int(total.sure_kept[index])
    figures = {
        "area_before": _rounded(before / pixels),
        "area_after": _rounded(after / pixels),
        "sure_before": _rounded(sure / pixels),
        "sure_kept": _rounded(kept / sure if sure else None),
        "confidence_before": _rounded(float(total.confidence_before[index].sum()) / before if before else None),
        "confidence_after": _rounded(float(total.confidence_after[:, index].sum()) / after if after else None),
        "mirror_iou_before": _rounded(iou(total.mirror_before, index)),
        "mirror_iou_after": _rounded(iou(total.mirror_after, index)),
    }
    for name, pairs in (("rescale_iou_before", total.rescale_before), ("rescale_iou_after", total.rescale_after)):
        if pairs.any():
            figures[name] = _rounded(iou(pairs, index))
    return figures


def _photo_figures(counts: Counts) -> dict[str, Any]:
    pixels = max(1, counts.pixels)
    figures: dict[str, Any] = {
        "changed": _rounded(counts.changed / pixels),
        "sure_changed": _rounded(int(counts.moved_sure.sum() - counts.moved_sure.trace()) / pixels),
        "confidence_before": _rounded(float(counts.confidence_before.sum()) / pixels),
        "confidence_after": _rounded(float(counts.confidence_after.sum()) / pixels),
        "mirror_before": _rounded(agreement(counts.mirror_before)),
        "mirror_after": _rounded(agreement(counts.mirror_after)),
    }
    for name, pairs in (("rescale_before", counts.rescale_before), ("rescale_after", counts.rescale_after)):
        if pairs.any():
            figures[name] = _rounded(agreement(pairs))
    before, after = counts.area_before / pixels, counts.area_after / pixels
    figures["classes"] = [
        {"id": index, "before": _rounded(float(before[index])), "after": _rounded(float(after[index]))} for index in counts.told()
    ]
    return figures


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
