"""Scores of an adapted network on a gallery's labelled photos, and the label-free comparison with the base."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from benchmarks.galleries import UserGallery
from benchmarks.survey.interface import Adapted, Forward, Segment
from models.bases.registry import Base
from models.check import RESCALED
from models.comparison import Comparison, Views, views
from models.config import PersonalizeConfig
from models.gallery import network_input, snap
from models.inference import enlarge_labels
from models.labels import IGNORE
from models.metrics import Scorer, class_iou, foreground_iou
from models.preprocess import shrink
from models.pseudo_labels import average_predictions

MOST_STRETCHED = 0.05
"""A label's shape may differ from its photo's by this ratio: the roundings of small sizes."""
BATCH = 8
"""Photos that a network sees together: matters for those that normalise with the batch's own statistics."""


@dataclass(frozen=True)
class Scores:
    """Of one gallery, in percent; None where there is nothing to score."""

    miou: float | None
    fbiou: float | None
    class_iou: dict[str, float]
    photo_fbiou: dict[str, float | None]
    """Photo id → FBIoU; None where neither mask nor label has foreground."""


def small_photos(gallery: UserGallery, side: int) -> UInt8[Tensor, "photos 3 side side"]:
    """All photos, squashed to a square."""
    return torch.stack([shrink(gallery.load(index), side) for index in range(len(gallery.ids))])


@torch.no_grad()
def masks_by_forward(base: Base, gallery: UserGallery, forward: Forward) -> Iterator[np.ndarray]:
    """Masks of the scored photos, in order, at each photo's own size: batches through `forward`."""
    for start in range(0, len(gallery.scored), BATCH):
        photos = [gallery.load(index) for index in gallery.scored[start : start + BATCH]]
        pixels = torch.stack([shrink(photo, base.info.side) for photo in photos])
        for logits, photo in zip(forward(network_input(pixels, base.info.side, base.device)), photos, strict=True):
            yield enlarge_labels(logits.float().cpu(), (photo.shape[0], photo.shape[1]))[0].numpy()


def masks_by_segment(gallery: UserGallery, segment: Segment) -> Iterator[np.ndarray]:
    """Masks of the scored photos, in order, one photo at a time."""
    for index in gallery.scored:
        yield segment(gallery.load(index))


def masks_of(base: Base, gallery: UserGallery, adapted: Adapted) -> Iterator[np.ndarray]:
    """Masks of the scored photos as the method serves them."""
    return masks_by_forward(base, gallery, adapted.forward) if adapted.segment is None else masks_by_segment(gallery, adapted.segment)


def score(base: Base, gallery: UserGallery, masks: Sequence[np.ndarray]) -> Scores:
    """Masks of the scored photos against their labels, at the labels' own size."""
    scorer = Scorer(base.classes)
    photo_fbiou: dict[str, float | None] = {}
    for index, mask in zip(gallery.scored, masks, strict=True):
        label = checked_label(gallery.label(index), gallery.ids[index], base.classes, mask.shape)
        mask = at_size(mask, label.shape)
        scorer.add(mask, label)
        value = foreground_iou(mask, label)
        photo_fbiou[gallery.ids[index]] = None if value is None else round(100 * value, 2)
    ious = {base.info.class_names[index]: round(100 * value, 2) for index, value in class_iou(scorer.matrix).items()}
    return Scores(_or_none(scorer.miou), _or_none(scorer.fbiou), ious, photo_fbiou)


def checked_label(label: np.ndarray, photo_id: str, classes: int, shape: Sequence[int]) -> np.ndarray:
    """The label as it is. Raises ValueError, with the photo, for one that cannot be scored; `shape`: (height, width) of the photo."""
    if label.ndim != 2:
        raise ValueError(f"the mask of {photo_id} has colours: a palette or grey PNG of class ids is needed")
    if unknown := sorted({int(value) for value in np.unique(label) if value >= classes and value != IGNORE}):
        raise ValueError(f"the mask of {photo_id} holds {unknown[:5]}: class ids are 0 to {classes - 1}, and {IGNORE} where nothing counts")
    if abs(label.shape[0] * shape[1] / (label.shape[1] * shape[0]) - 1) > MOST_STRETCHED:
        wanted, found = f"{shape[1]} × {shape[0]}", f"{label.shape[1]} × {label.shape[0]}"
        raise ValueError(f"the mask of {photo_id} is {found}, its photo {wanted} once it is upright: they do not lie on each other")
    return label


def at_size(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The mask at a label's own size (height, width), nearest: METHOD scores there, and a data set may keep smaller labels than photos."""
    return mask if mask.shape == tuple(shape) else np.asarray(Image.fromarray(mask).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


@torch.no_grad()
def compare(base: Base, gallery: UserGallery, pixels: UInt8[Tensor, "photos 3 side side"], adapted: Adapted) -> Comparison:
    """Base and adapted network side by side on photos drawn evenly from the gallery, as many as the service's guard looks at.

    As there, both are also compared with what the base says on average over sizes and mirror images.
    """
    config = PersonalizeConfig()
    positions = np.unique(np.linspace(0, len(pixels) - 1, min(config.guard_photos, len(pixels))).astype(int))
    own = copy.copy(base.segmenter)
    own.use_context = False
    before: Forward = adapted.before or (lambda x: own(x).logits)
    comparison = Comparison(base.classes)
    for start in range(0, len(positions), BATCH):
        drawn = positions[start : start + BATCH]
        batch = pixels[torch.from_numpy(drawn)]
        x = network_input(batch, base.info.side, base.device)
        size = tuple(before(x).shape[2:])
        plain, changed = looked_at(_sized(before, size), x), looked_at(_sized(adapted.forward, size), x)
        averaged = average_predictions(own, batch, side=base.info.side, scales=config.scales, device=base.device, size=size[0]).argmax(1)
        for index, position in enumerate(drawn):
            comparison.add(one(plain, index), one(changed, index), photo_id=gallery.ids[position], reference=averaged[[index]])
    return comparison


def one(batch: Views, index: int) -> Views:
    """The views of one photo of a batch."""
    rescaled = None if batch.rescaled is None else batch.rescaled[[index]]
    return Views(batch.probabilities[[index]], batch.mirrored[[index]], rescaled)


def _sized(forward: Forward, size: Sequence[int]) -> Forward:
    """The same logits at another size: a personal model may look at smaller photos than the base."""
    return lambda x: F.interpolate(forward(x).float(), tuple(size), mode="bilinear", align_corners=False)


def looked_at(forward: Forward, x: Float[Tensor, "images 3 side side"]) -> Views:
    """A network's prediction for a batch, for the mirrored batch and for the batch at RESCALED times the side."""
    plain = views(forward, x)
    if not torch.isfinite(plain.probabilities).all():
        raise FloatingPointError("the adapted network has diverged: its predictions are not finite")
    side, size = snap(RESCALED * x.shape[2]), (plain.mirrored.shape[1], plain.mirrored.shape[2])
    small = forward(F.interpolate(x, (side, side), mode="bilinear", antialias=True))
    return replace(plain, rescaled=F.interpolate(small, size, mode="bilinear", align_corners=False).argmax(1))
