"""Before/after sheets: photo | label | base | personal, for the photos that gained most, middling and least (FBIoU)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.galleries import UserGallery
from models.bases.registry import Base
from models.gallery import network_input
from models.inference import enlarge_labels
from models.labels import IGNORE
from models.preprocess import shrink

HEIGHT = 200  # pixels; a row of the sheet
CAPTION = 16  # pixels
IGNORED_COLOR = (224, 224, 192)


def chosen_photos(photo_fbiou: dict[str, dict[str, float | None]]) -> list[tuple[str, str, float]]:
    """(name, photo id, gain) of the best, the median and the worst photo by FBIoU gain; fewer where there are fewer photos."""
    gains = [(v["after"] - v["before"], photo) for photo, v in photo_fbiou.items() if v["after"] is not None and v["before"] is not None]
    ranked = sorted(gains, reverse=True)
    if not ranked:
        return []
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    seen: dict[int, str] = {}
    for name, place in places.items():
        seen.setdefault(place, name)
    return [(name, ranked[place][1], ranked[place][0]) for place, name in seen.items()]


def save_sheet(
    path: Path,
    photo_fbiou: dict[str, Any],
    base: Base,
    gallery: UserGallery,
    masks: Sequence[np.ndarray],
    base_masks: Sequence[np.ndarray] | None,
) -> None:
    """Draws the sheet as a PNG. `masks` are those of the scored photos; the base's are made again where they are not given."""
    place = {gallery.ids[index]: position for position, index in enumerate(gallery.scored)}
    rows = []
    for name, photo_id, gain in chosen_photos(photo_fbiou):
        position = place[photo_id]
        index = gallery.scored[position]
        photo = gallery.load(index)
        before = base_masks[position] if base_masks is not None else plain_mask(base, photo)
        values = photo_fbiou[photo_id]
        caption = (
            f"{name}: {photo_id}   FBIoU {values['before']:.1f} -> {values['after']:.1f} ({gain:+.1f})   photo | label | base | personal"
        )
        pictures = [photo, *(colored(mask, base.info.palette) for mask in (gallery.label(index), before, masks[position]))]
        rows.append(_row(pictures, caption))
    if rows:
        _stack(rows).save(path)


@torch.no_grad()
def plain_mask(base: Base, photo: np.ndarray) -> np.ndarray:
    """The base's plain prediction at the photo's own size."""
    logits = base.segmenter.base(network_input(shrink(photo, base.info.side)[None], base.info.side, base.device)).logits[0]
    return enlarge_labels(logits.float().cpu(), (photo.shape[0], photo.shape[1]))[0].numpy()


def colored(mask: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """A mask in its classes' colours: (H, W, 3) uint8."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE] = IGNORED_COLOR
    picture: np.ndarray = table[mask]
    return picture


def _row(pictures: Sequence[np.ndarray], caption: str) -> Image.Image:
    scaled = [Image.fromarray(p).resize((round(p.shape[1] * HEIGHT / p.shape[0]), HEIGHT)) for p in pictures]
    row = Image.new("RGB", (sum(p.width for p in scaled), HEIGHT + CAPTION), "white")
    ImageDraw.Draw(row).text((4, 2), caption, fill="black")
    left = 0
    for picture in scaled:
        row.paste(picture, (left, CAPTION))
        left += picture.width
    return row


def _stack(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
