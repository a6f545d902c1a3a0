"""One photo to its mask, with the base alone or with a personal model, at the photo's own size and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.checkpoints import PersonalModel
from models.gallery import network_input, resize_batch, snap
from models.grouping import describe
from models.preprocess import shrink
from models.types import Cancelled, Features, Segmentation

STRIP_VALUES = 32 * 2**20  # ours: class scores held at once while enlarging, so that a 100-megapixel photo costs no more than a small one
WIDEST = 2**16  # pixels; ours: a wider photo is enlarged in strips of columns, so that one of its strips is no larger


@torch.inference_mode()
def segment(
    base: Base,
    photo: UInt8[np.ndarray, "height width 3"],
    personal: PersonalModel | None = None,
    *,
    group: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Segmentation:
    """The mask of an EXIF-upright RGB photo, by one plain pass.

    `group`: the photo's group in the user's gallery, where known; otherwise the nearest one.
    Raises Cancelled where `should_stop` turns true (asked every megapixel or so), ValueError where `personal` belongs
    to another base.
    """
    if personal is None:
        logits = base.segmenter(network_input(shrink(photo, base.info.side)[None], base.info.side, base.device)).logits
    elif personal.base_name != base.info.name:
        raise ValueError(f"the personal model belongs to base {personal.base_name}, not {base.info.name}")
    else:
        logits = personal_logits(personal, shrink(photo, personal.appearance.side)[None], base.device, group)
    labels, confidence = enlarge_labels(logits[0].float().cpu(), (photo.shape[0], photo.shape[1]), should_stop)
    return Segmentation(labels.numpy(), confidence.numpy())


def personal_logits(
    personal: PersonalModel, pixels: UInt8[Tensor, "1 3 h w"], device: torch.device, group: int | None = None, *, scale: float = 1.0
) -> Float[Tensor, "1 classes h2 w2"]:
    """A small copy of one photo through the personal model, as the service does it: its appearance, its bank.

    `scale`: of the side that the service uses, to see whether another size says the same.
    """
    features = personal_features(personal, pixels, device, scale=scale)
    if group is None or group >= len(personal.bank.centres):
        group = personal.bank.nearest(describe(features.deep)[0])
    return personal.segmenter.with_context(features, bank=personal.bank.of(group))


def personal_features(personal: PersonalModel, pixels: UInt8[Tensor, "1 3 h w"], device: torch.device, *, scale: float = 1.0) -> Features:
    """The first half of `personal_logits`: what the personal network sees, before any context."""
    side = snap(scale * personal.appearance.side)
    return personal.segmenter.base(network_input(personal.appearance.show(resize_batch(pixels, side)), side, device))  # type: ignore[no-any-return]


def enlarge_labels(
    logits: Float[Tensor, "classes h w"], size: tuple[int, int], should_stop: Callable[[], bool] = lambda: False
) -> tuple[UInt8[Tensor, "height width"], Float[Tensor, "height width"]]:
    """Most likely class and its probability after bilinear enlargement to `size`, strip by strip.

    Raises Cancelled where `should_stop` turns true between two strips.
    """
    labels = torch.empty(size, dtype=torch.uint8)
    confidence = torch.empty(size, dtype=torch.float32)
    if size[1] > WIDEST:
        _enlarge_into(labels.T, confidence.T, logits.transpose(1, 2), should_stop)
    else:
        _enlarge_into(labels, confidence, logits, should_stop)
    return labels, confidence


def _enlarge_into(
    labels: UInt8[Tensor, "height width"],
    confidence: Float[Tensor, "height width"],
    logits: Float[Tensor, "classes h w"],
    should_stop: Callable[[], bool],
) -> None:
    """Strips of rows: of none is more than its own scores held, however wide the photo is beside its height."""
    height, width = labels.shape
    rows = (torch.arange(height) + 0.5) * logits.shape[1] / height - 0.5
    rows = rows.clamp(0, logits.shape[1] - 1)
    above = rows.floor().long()
    below = (above + 1).clamp(max=logits.shape[1] - 1)
    fraction = (rows - above)[None, :, None]
    strip = max(1, STRIP_VALUES // (max(width, logits.shape[2]) * logits.shape[0]))
    for top in range(0, height, strip):
        if should_stop():
            raise Cancelled
        part = slice(top, min(height, top + strip))
        low = torch.lerp(logits[:, above[part]], logits[:, below[part]], fraction[:, part])
        scores = F.interpolate(low[None], (low.shape[1], width), mode="bilinear", align_corners=False)[0]  # (K, strip, W)
        best = scores.softmax(0).max(0)
        labels[part], confidence[part] = best.indices.to(torch.uint8), best.values
