"""The first look at a gallery: every photo read once, described, grouped; small copies of those to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.clock import Clock
from models.config import PersonalizeConfig
from models.gallery import network_input, snap
from models.grouping import describe, group_photos
from models.preprocess import shrink
from models.types import PhotoSource

MIN_PHOTOS = 2  # ours: one photo has no other to learn from


@dataclass(frozen=True)
class Look:
    """What was seen of the gallery: the photos looked at, their groups and small copies of those to learn from."""

    indices: list[int]
    groups: Int64[np.ndarray, " seen"]
    centres: Float[np.ndarray, "groups deep_channels"]
    chosen: list[int]
    """Positions in `indices` of the photos to learn from, group by group."""
    pixels: UInt8[Tensor, "chosen 3 side side"]

    @property
    def chosen_groups(self) -> Int64[np.ndarray, " chosen"]:
        """Group of each photo in `pixels`."""
        return self.groups[self.chosen]

    def group_of(self, photos: PhotoSource) -> dict[str, int]:
        """Photo id → group, of the photos looked at."""
        return {photos.ids[index]: int(group) for index, group in zip(self.indices, self.groups, strict=True)}


@torch.no_grad()
def look(base: Base, photos: PhotoSource, config: PersonalizeConfig, clock: Clock) -> Look:
    """Reads every photo once (in a seeded order, as long as time allows), describes and groups them, and draws those to learn from."""
    rng = np.random.default_rng(config.seed)
    side = snap(base.info.side * max(config.scales))
    order = [int(i) for i in rng.permutation(len(photos.ids))]
    small: list[Tensor] = []
    rows: list[np.ndarray] = []
    keep = config.max_training_photos
    for done, index in enumerate(order):
        if done >= MIN_PHOTOS and clock.spent(config.describe_share):
            order = order[:done]
            break
        pixels = shrink(photos.load(index), side)
        x = network_input(pixels[None], config.describe_side, base.device)
        rows.append(describe(base.segmenter.base(x).deep)[0])
        if len(small) < keep:  # an even draw: the order is random
            small.append(pixels)
        clock.step(done + 1, len(order))
    groups, centres = group_photos(np.stack(rows), seed=config.seed, size=config.group_size)
    chosen = [int(i) for i in np.argsort(groups[: len(small)], kind="stable")]
    return Look(order, groups, centres, chosen, torch.stack([small[i] for i in chosen]))
