"""The first look at a gallery: every photo read once, described, grouped; small copies of those to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from models.appearance import Appearance
from models.bases.registry import Base
from models.checkpoint_file import Section
from models.clock import Clock
from models.config import PersonalizeConfig
from models.gallery import network_input, resize_batch, snap
from models.grouping import describe, group_photos, nearest_group
from models.preprocess import shrink
from models.resume import Journal
from models.types import PhotoSource, PhotoUnavailable

MIN_PHOTOS = 2  # ours: one photo has no other to learn from
THUMB = 32  # pixels
ALIKE = 3.0
"""Two photos are the same picture where their thumbs differ by at most this much (RMS of levels in [0, 255]; docs/decisions/0024)."""
STAGE = "looking"


class TooFewPhotos(Exception):
    """Fewer than MIN_PHOTOS different photos of the gallery could be read."""

    def __init__(self, left_out: dict[str, str], seen: int) -> None:
        super().__init__(f"{seen} photos could be read and {len(left_out)} could not, too few of them different ones")
        self.left_out, self.seen = left_out, seen


@dataclass(frozen=True)
class Look:
    """What was seen of the gallery: the photos looked at, their groups and small copies of those to learn from."""

    indices: list[int]
    groups: Int64[np.ndarray, " seen"]
    centres: Float[np.ndarray, "groups deep_channels"]
    chosen: list[int]
    """Positions in `indices` of the photos to learn from, group by group: of copies of one picture, the first."""
    pixels: UInt8[Tensor, "chosen 3 side side"]
    """At most `max_training_photos`, which bounds what the whole gallery takes."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Photo id → why it could not be read."""
    alike: int = 0
    """How many of the photos looked at are copies of one to learn from."""
    appearance: Appearance | None = None
    """How `shown` shows them; None: as they are."""

    @property
    def chosen_groups(self) -> Int64[np.ndarray, " chosen"]:
        """Group of each photo in `pixels`."""
        return self.groups[self.chosen]

    def group_of(self, photos: PhotoSource) -> dict[str, int]:
        """Photo id → group, of the photos looked at."""
        return {photos.ids[index]: int(group) for index, group in zip(self.indices, self.groups, strict=True)}

    def first(self, count: int) -> Look:
        """The same with the first `count` photos to learn from only."""
        return replace(self, chosen=self.chosen[:count], pixels=self.pixels[:count])

    def shown(self, positions: Sequence[int]) -> UInt8[Tensor, "photos 3 side side"]:
        """Some of `pixels`, in the appearance."""
        taken = self.pixels[list(positions)]
        return taken if self.appearance is None else self.appearance.show(taken)


@dataclass
class _Seen:
    """The photos read so far, in the order of the draw."""

    drawn: int = 0
    indices: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    """Positions in `indices` of those with a copy to learn from."""
    alike: int = 0
    rows: list[np.ndarray] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_section(cls, section: Section) -> _Seen:
        if not section.facts:
            return cls()
        facts = section.facts
        rows = list(section.tensors["rows"].numpy())
        return cls(facts["drawn"], list(facts["indices"]), list(facts["kept"]), facts["alike"], rows, facts["left_out"])

    def to_section(self) -> Section:
        facts = {"drawn": self.drawn, "indices": self.indices, "kept": self.kept, "alike": self.alike, "left_out": self.left_out}
        return Section({"rows": torch.from_numpy(np.stack(self.rows))}, facts)


@torch.no_grad()
def look(base: Base, photos: PhotoSource, config: PersonalizeConfig, clock: Clock, journal: Journal) -> Look:
    """Reads every photo once (in a seeded order, as long as time allows), describes and groups them, and draws those to learn from.

    After a resume only the photos to learn from are read again. Raises TooFewPhotos.
    """
    if (finished := journal.finished(STAGE)) is not None:
        return _again(base, photos, config, clock, journal, finished)
    order = [int(i) for i in np.random.default_rng(config.seed).permutation(len(photos.ids))]
    seen = _Seen.from_section(journal.begun(STAGE))
    copies = Copies(min(config.max_training_photos, len(order)), base, config)
    if len(_read_again(seen.kept, seen.indices, copies, photos, seen.left_out, clock)) < len(seen.kept):
        # One of them has gone since: the draw begins anew.
        seen, copies = _Seen(), Copies(len(copies.pixels), base, config)
    for index in order[seen.drawn :]:
        if len(seen.indices) >= MIN_PHOTOS and clock.spent(config.describe_share):
            break
        if (pixels := _read(photos, index, copies.side, seen.left_out)) is not None:
            if copies.has_alike(pixels):
                seen.alike += 1
            elif copies.add(pixels):
                seen.kept.append(len(seen.indices))
            x = network_input(pixels[None], config.describe_side, base.device)
            seen.rows.append(describe(base.segmenter.base(x).deep)[0])
            seen.indices.append(index)
        seen.drawn += 1
        if seen.rows:
            journal.note(STAGE, seen.to_section)
        clock.step(seen.drawn, len(order))
    if len(copies) < MIN_PHOTOS:
        raise TooFewPhotos(seen.left_out, len(seen.indices))
    groups, centres = _grouped(np.stack(seen.rows), seen.kept, config)
    by_group = [int(i) for i in np.argsort(groups[seen.kept], kind="stable")]
    chosen = [seen.kept[i] for i in by_group]
    found = Look(seen.indices, groups, centres, chosen, copies.pixels[by_group], seen.left_out, seen.alike)
    journal.finish(STAGE, lambda: _section(found))
    return found


def _grouped(
    rows: Float[np.ndarray, "seen deep_channels"], kept: Sequence[int], config: PersonalizeConfig
) -> tuple[Int64[np.ndarray, " seen"], Float[np.ndarray, "groups deep_channels"]]:
    """The photos learned from make the groups, so that each has about `group_size` to learn from together; the others join them."""
    learned, centres = group_photos(rows[kept], seed=config.seed, size=config.group_size)
    group_of = dict(zip(kept, learned.tolist(), strict=True))
    groups = [group_of[i] if i in group_of else nearest_group(row, centres) for i, row in enumerate(rows)]
    return np.array(groups, dtype=np.int64), centres


def learned_side(base: Base, config: PersonalizeConfig) -> int:
    """Pixels: a photo with no side below this holds all that `personalize` uses of it, so that it need not be decoded larger."""
    return snap(base.info.side * max(config.scales))


class Copies:
    """Small copies of the first different photos read, as many as there is room for."""

    def __init__(self, room: int, base: Base, config: PersonalizeConfig) -> None:
        self.side, self._count = learned_side(base, config), 0
        self._room = torch.empty(room, 3, self.side, self.side, dtype=torch.uint8)
        self._thumbs = torch.empty(room, 3, THUMB, THUMB)

    def __len__(self) -> int:
        return self._count

    @property
    def pixels(self) -> UInt8[Tensor, "room 3 side side"]:
        """The copies, and behind them the room that is left."""
        return self._room

    def add(self, pixels: UInt8[Tensor, "3 side side"]) -> bool:
        """Keeps a copy where there is room; whether there was."""
        if self._count == len(self._room):
            return False
        self._room[self._count], self._thumbs[self._count] = pixels, _thumb(pixels)
        self._count += 1
        return True

    def has_alike(self, pixels: UInt8[Tensor, "3 side side"]) -> bool:
        """Whether one of the copies shows the same picture, perhaps saved or shrunk anew."""
        differences = (self._thumbs[: self._count] - _thumb(pixels)).square().mean((1, 2, 3))
        return bool((differences <= ALIKE**2).any())


def _thumb(pixels: UInt8[Tensor, "3 side side"]) -> Float[Tensor, "3 thumb thumb"]:
    return resize_batch(pixels[None], THUMB)[0].float()


def _read(photos: PhotoSource, index: int, side: int, left_out: dict[str, str]) -> UInt8[Tensor, "3 side side"] | None:
    """A small copy; None (and the reason in `left_out`) where there is no such photo any more."""
    try:
        return shrink(photos.load(index), side)
    except PhotoUnavailable as error:
        left_out[photos.ids[index]] = str(error)
        return None


def _read_again(
    positions: Sequence[int], indices: Sequence[int], copies: Copies, photos: PhotoSource, left_out: dict[str, str], clock: Clock
) -> list[int]:
    """Adds the photos at `positions` of `indices` to `copies`; those positions that could still be read."""
    found: list[int] = []
    for position in positions:
        clock.look()
        if (pixels := _read(photos, indices[position], copies.side, left_out)) is not None:
            copies.add(pixels)
            found.append(position)
    return found


def _section(found: Look) -> Section:
    tensors = {"groups": torch.from_numpy(found.groups), "centres": torch.from_numpy(found.centres)}
    return Section(tensors, {"indices": found.indices, "chosen": found.chosen, "left_out": found.left_out, "alike": found.alike})


def _again(base: Base, photos: PhotoSource, config: PersonalizeConfig, clock: Clock, journal: Journal, section: Section) -> Look:
    """The look of an earlier run. Where a photo to learn from has gone since, what was learned with it is forgotten."""
    indices, left_out = list(section.facts["indices"]), dict(section.facts["left_out"])
    copies = Copies(len(section.facts["chosen"]), base, config)
    chosen = _read_again(section.facts["chosen"], indices, copies, photos, left_out, clock)
    if len(chosen) < MIN_PHOTOS:
        raise TooFewPhotos(left_out, sum(photos.ids[index] not in left_out for index in indices))
    groups, centres = section.tensors["groups"].numpy(), section.tensors["centres"].numpy()
    found = Look(indices, groups, centres, chosen, copies.pixels[: len(chosen)], left_out, section.facts["alike"])
    if len(chosen) < len(section.facts["chosen"]):
        journal.forget_all_but(STAGE)
        journal.finish(STAGE, lambda: _section(found))
    return found
