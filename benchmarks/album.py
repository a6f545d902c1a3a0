"""What is in a user's folder, as one number: cells of a data set that its owner can change are kept under it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.recipes import PSS, GalleryRecipe, Kind

FOLDERS = ("JPEGImages", "SegmentationClass")
LISTS = ("val_all.txt",)


def album_of(recipe: GalleryRecipe, pss: Path | None) -> str | None:
    """`album_digest` of the recipe's user in the data set `pss`; None for every other gallery."""
    return album_digest(pss / recipe.subject.removeprefix(PSS)) if pss is not None and recipe.kind is Kind.PSS else None


def album_digest(root: Path) -> str:
    """64 hex digits of the photos, masks and the list of a PSS user (`benchmarks.pss`), by name and content; other files do not count."""
    found = hashlib.sha256()
    paths = [root / name for name in LISTS]
    paths += [path for folder in FOLDERS for path in sorted((root / folder).iterdir()) if path.is_file()]
    for path in paths:
        with path.open("rb") as file:
            found.update(f"{path.relative_to(root).as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()
