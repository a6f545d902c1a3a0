"""`python -m tools.explaining_pictures`: the pictures of docs/how-it-works.md, made by the real method on the demo's sample album.

The photographs ship inside scikit-image, scikit-learn and matplotlib (see `app.demo.album`). Takes some minutes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from app.demo.album import write_album
from app.demo.folder import find_photos
from models import Base, Personalization, PersonalizeConfig, Segmentation, load_base, personalize, segment

TARGET = Path(__file__).resolve().parent.parent / "docs" / "pictures"
BUDGET_SECONDS = 900.0
"""So much that it does not bind, also on a machine that is busy."""
IN_A_LINE = 8
GAP = 16
TILE = (240, 180)
OPACITY = 0.6


class Album:
    """The `PhotoSource` of a folder."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    @property
    def ids(self) -> Sequence[str]:
        """The paths."""
        return tuple(str(path) for path in self.paths)

    def load(self, index: int) -> np.ndarray:
        """The photo as RGB."""
        with Image.open(self.paths[index]) as photo:
            return np.array(photo.convert("RGB"))


def main() -> None:
    """Adapt to the album and draw what happened."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_album(Path(folder))
        album = Album(find_photos(Path(folder)))
        base = load_base("espnetv2")
        result = personalize(base, album, PersonalizeConfig(budget_seconds=BUDGET_SECONDS))
        draw_groups(album, result)
        draw_before_after(album, base, result)
    print(json.dumps(result.verdict.to_json(), indent=1))  # noqa: T201 - for who runs it


def draw_groups(album: Album, result: Personalization) -> None:
    """Group by group, a gap between them: the photos that lend each other context."""
    groups = [[i for i, name in enumerate(album.ids) if result.groups.get(name) == group] for group in sorted(set(result.groups.values()))]
    lines = [members[start : start + IN_A_LINE] for members in groups for start in range(0, len(members), IN_A_LINE)]
    firsts = {members[0] for members in groups}
    width, height = TILE[0] // 2, TILE[1] // 2
    sheet = Image.new("RGB", (IN_A_LINE * width, len(lines) * height + len(groups) * GAP), "white")
    top = 0
    for members in lines:
        top += GAP if members[0] in firsts else 0
        for column, index in enumerate(members):
            sheet.paste(_tile(album.load(index)).resize((width, height)), (column * width, top))
        top += height
    sheet.save(TARGET / "groups.jpg", quality=80)


def draw_before_after(album: Album, base: Base, result: Personalization) -> None:
    """The photos that changed most: photo, base, personal, where they differ, how sure the personal model is."""
    rows = []
    for index, name in enumerate(album.ids):
        photo = album.load(index)
        before, after = segment(base, photo), segment(base, photo, result.model, group=result.groups.get(name))
        rows.append((float((before.labels != after.labels).mean()), photo, before, after))
    rows.sort(key=lambda row: -row[0])
    sheet = Image.new("RGB", (5 * TILE[0], 4 * TILE[1] + 24), "white")
    for column, title in enumerate(("photo", "base model", "personal model", "what changed", "how sure (white = certain)")):
        ImageDraw.Draw(sheet).text((column * TILE[0] + 6, 6), title, fill="black")
    for row, (_, photo, before, after) in enumerate(rows[:4]):
        shown = [_tile(photo), _overlay(photo, before, base), _overlay(photo, after, base), _changed(photo, before, after), _sure(after)]
        for column, picture in enumerate(shown):
            sheet.paste(picture, (column * TILE[0], row * TILE[1] + 24))
    sheet.save(TARGET / "before-after.jpg", quality=80)


def _tile(pixels: np.ndarray) -> Image.Image:
    tile = Image.new("RGB", TILE, "white")
    picture = Image.fromarray(pixels)
    picture.thumbnail((TILE[0] - 4, TILE[1] - 4))
    tile.paste(picture, ((TILE[0] - picture.width) // 2, (TILE[1] - picture.height) // 2))
    return tile


def _overlay(photo: np.ndarray, mask: Segmentation, base: Base) -> Image.Image:
    palette = np.zeros((256, 3), dtype=np.float32)
    palette[: len(base.info.palette)] = base.info.palette
    shown = np.where((mask.labels > 0)[..., None], (1 - OPACITY) * photo + OPACITY * palette[mask.labels], photo)
    return _tile(shown.astype(np.uint8))


def _changed(photo: np.ndarray, before: Segmentation, after: Segmentation) -> Image.Image:
    grey = np.repeat(photo.mean(axis=2, keepdims=True) * 0.5 + 100, 3, axis=2)
    shown = np.where((before.labels != after.labels)[..., None], np.array([220, 60, 20]), grey)
    return _tile(shown.astype(np.uint8))


def _sure(mask: Segmentation) -> Image.Image:
    return _tile(np.repeat((mask.confidence * 255).astype(np.uint8)[..., None], 3, axis=2))


if __name__ == "__main__":
    main()
