"""What the guard looks at: photos of the gallery through the base, the appearance alone, and the personal model, each as it would serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.checkpoints import PersonalModel
from models.clock import Clock
from models.comparison import Comparison, Views, views
from models.config import GuardLimits, PersonalizeConfig
from models.gallery import network_input, snap
from models.inference import personal_logits
from models.look import Look
from models.types import PhotoSource

RESCALED = 0.75  # of the side; ours: the other size at which a prediction should say the same
ENOUGH = 8  # photos; ours: the guard looks at so many, whatever the budget says


@dataclass(frozen=True)
class Comparisons:
    """Of the same photos."""

    learned: Comparison
    """The appearance alone → the personal model: what training changed. With the averaged predictions as reference."""
    to_candidate: Comparison
    """The base → the personal model: what its user would see."""
    to_unlearned: Comparison
    """The base → the appearance alone."""


@torch.no_grad()
def check(
    base: Base,
    unlearned: PersonalModel | None,
    candidate: PersonalModel,
    photos: PhotoSource,
    seen: Look,
    averaged: UInt8[Tensor, "chosen h w"],
    config: PersonalizeConfig,
    limits: GuardLimits,
    clock: Clock,
) -> Comparisons:
    """Looks at photos drawn evenly from those learned from.

    `unlearned`: the base's weights under the gallery's appearance; None where photos are shown as they are. `averaged`: the most likely
    classes of the averaged predictions.
    """
    positions = np.unique(np.linspace(0, len(seen.pixels) - 1, min(config.guard_photos, len(seen.pixels))).astype(int)).tolist()
    found = Comparisons(*(Comparison(base.classes, limits.confident) for _ in range(3)))
    size = (averaged.shape[1], averaged.shape[2])
    for done, position in enumerate(positions):
        photo_id = photos.ids[seen.indices[seen.chosen[position]]]
        pixels, group = seen.pixels[[position]], int(seen.chosen_groups[position])
        before = _views(lambda x, scale: base.segmenter(network_input(x, snap(scale * base.info.side), base.device)).logits, pixels, size)
        plain = before if unlearned is None else _views(partial(_served, unlearned, base, group), pixels, size)
        after = _views(partial(_served, candidate, base, group), pixels, size)
        found.learned.add(plain, after, photo_id=photo_id, reference=averaged[[position]].long().to(base.device))
        found.to_candidate.add(before, after, photo_id=photo_id)
        found.to_unlearned.add(before, plain, photo_id=photo_id)
        clock.step(done + 1, len(positions))
        if clock.spent(1.0) and done + 1 >= ENOUGH:
            break
    return found


def _served(model: PersonalModel, base: Base, group: int, x: UInt8[Tensor, "1 3 h w"], scale: float) -> Float[Tensor, "1 classes h2 w2"]:
    return personal_logits(model, x, base.device, group, scale=scale)


def _views(
    forward: Callable[[UInt8[Tensor, "1 3 h w"], float], Float[Tensor, "1 classes h2 w2"]],
    pixels: UInt8[Tensor, "1 3 h w"],
    size: tuple[int, int],
) -> Views:
    """`forward`: small copies and the share of the usual side at which to look → logits."""
    plain = views(lambda x: _at(forward(x, 1.0), size), pixels)
    return replace(plain, rescaled=_at(forward(pixels, RESCALED), size).argmax(1))


def _at(logits: Float[Tensor, "images classes h w"], size: tuple[int, int]) -> Float[Tensor, "images classes h2 w2"]:
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
