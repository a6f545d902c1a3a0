"""`python -m benchmarks.new_photos`: a personal model on photos that came after it, and its context bank beside the group itself.

A share of a gallery is kept away from the adaptation. Then all photos are segmented by the base and, whatever the guard says of it, by
the personal model: without context, with a photo's own, with the bank's (as the service does it), with that of its whole group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.galleries import UserGallery, open_gallery
from benchmarks.quality import parse_settings
from benchmarks.recipes import REPORTED, GalleryRecipe, parse_recipe
from models.bases.registry import Base, load_base
from models.checkpoints import PersonalModel
from models.config import PersonalizeConfig
from models.gallery import network_input
from models.grouping import describe
from models.inference import enlarge_labels, personal_features
from models.metrics import Scorer
from models.personalize import personalize
from models.preprocess import shrink
from models.types import Features

EVERY = 4
"""One photo in so many is new: 48 of 64 are learned from."""
WAYS = ("base, plain", "without context", "own context", "context bank", "whole group")
LEARNED, NEW = "learned", "new"
GALLERIES = (REPORTED[1], REPORTED[2], REPORTED[10], REPORTED[12])
"""Two through a camera, one untouched, one drive."""


@dataclass(frozen=True)
class Part:
    """Some photos of a gallery, as a `models.PhotoSource`."""

    gallery: UserGallery
    positions: Sequence[int]

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids."""
        return [self.gallery.ids[position] for position in self.positions]

    def load(self, index: int) -> np.ndarray:
        """The photo: (H, W, 3) uint8."""
        return self.gallery.load(self.positions[index])


def split(count: int) -> tuple[list[int], list[int]]:
    """(learned from, new) of so many photos."""
    return [i for i in range(count) if i % EVERY != EVERY - 1], [i for i in range(count) if i % EVERY == EVERY - 1]


@torch.no_grad()
def looked_at(model: PersonalModel, base: Base, photo: np.ndarray) -> Features:
    """The personal model's features of one photo, in its user's appearance."""
    return personal_features(model, shrink(photo, model.appearance.side)[None], base.device)


@torch.no_grad()
def by_every_way(
    model: PersonalModel, features: Features, mates: Sequence[Features], group: int
) -> dict[str, Float[Tensor, "classes h w"]]:
    """Logits of one photo by each of the personal model's ways; `mates`: the others of its group that are shown with it."""
    segmenter = model.segmenter
    together = Features(*(torch.cat(maps) for maps in zip(features, *mates, strict=True)))
    return {
        "without context": features.logits[0],
        "own context": segmenter.with_context(features)[0],
        "context bank": segmenter.with_context(features, bank=model.bank.of(group))[0],
        "whole group": segmenter.with_context(together)[0],
    }


def measure(base: Base, gallery: UserGallery, config: PersonalizeConfig) -> dict[str, Any]:
    """mIoU and FBIoU in percent of every way, of the photos learned from and of the new ones."""
    learned, new = split(len(gallery.ids))
    result = personalize(base, Part(gallery, learned), config)
    model = result.candidate
    if model is None:
        return {"verdict": result.verdict.to_json(), "scores": {}}
    features = [looked_at(model, base, gallery.load(position)) for position in range(len(gallery.ids))]
    groups = [model.bank.nearest(describe(maps.deep)[0]) for maps in features]
    scorers = {(way, part): Scorer(base.classes) for way in WAYS for part in (LEARNED, NEW)}
    for position in gallery.scored:
        photo, label = gallery.load(position), gallery.label(position)
        mates = [other for other in learned if other != position and groups[other] == groups[position]][: config.group_size - 1]
        with torch.no_grad():
            plain = base.segmenter.base(network_input(shrink(photo, base.info.side)[None], base.info.side, base.device)).logits[0]
        logits = {WAYS[0]: plain} | by_every_way(model, features[position], [features[mate] for mate in mates], groups[position])
        for way, values in logits.items():
            mask = enlarge_labels(values.float().cpu(), (label.shape[0], label.shape[1]))[0].numpy()
            scorers[way, NEW if position in new else LEARNED].add(mask, label)
    scores = {part: {way: _figures(scorers[way, part]) for way in WAYS} for part in (LEARNED, NEW)}
    return {"verdict": result.verdict.to_json(), "scores": scores}


def _figures(scorer: Scorer) -> tuple[float, float]:
    return round(scorer.miou, 2), round(scorer.fbiou, 2)


def main(
    data: Annotated[Path, typer.Option(help="Folder with voc2012/val and camvid.")] = Path("../shared/data"),
    gallery: Annotated[list[str] | None, typer.Option(help="subject[:camera[:seed[:photos[:half]]]]; repeatable.")] = None,
    base: Annotated[str, typer.Option(help="Base model.")] = "espnetv2",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    budget: Annotated[float, typer.Option(help="Seconds of adaptation.")] = 240.0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, name=value (PersonalizeConfig).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON, gallery by gallery.")] = None,
) -> None:
    """Print mIoU / FBIoU of photos learned from and of photos that came later."""
    recipes: list[GalleryRecipe] = [parse_recipe(text) for text in gallery] if gallery else list(GALLERIES)
    shipped, console, found = load_base(base, device=device), Console(width=120), {}
    for recipe in recipes:
        config = PersonalizeConfig(budget_seconds=budget, **parse_settings(set_))
        found[recipe.name] = measure(shipped, open_gallery(recipe, data), config)
        table = Table("segmented", LEARNED, NEW, title=f"{recipe.name}: {found[recipe.name]['verdict']['code']}")
        for way in WAYS if found[recipe.name]["scores"] else ():
            table.add_row(way, *("{:.1f} / {:.1f}".format(*found[recipe.name]["scores"][part][way]) for part in (LEARNED, NEW)))
        console.print(table)
        if out is not None:
            out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
