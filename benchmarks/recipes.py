"""Recipes of galleries: one simulated user each (class subset × camera × seed), a CamVid drive, a user of the PSS data set, or junk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import typer

from benchmarks.cameras import CAMERAS
from models.labels import VOC_CLASSES

PETS = ("person", "dog", "cat", "sofa", "chair", "tvmonitor", "pottedplant", "bottle", "diningtable")
STREET = ("person", "car", "bus", "bicycle", "motorbike", "train", "aeroplane")
FARM = ("person", "horse", "cow", "sheep", "bird", "dog", "boat")
SUBJECTS: dict[str, tuple[str, ...]] = {"mixed": VOC_CLASSES[1:], "pets": PETS, "street": STREET, "farm": FARM}
DRIVES = ("0001TP", "0006R0", "0016E5")
PSS, JUNK = "pss/", "junk/"


class Kind(StrEnum):
    """Where a gallery comes from; `shifted` and `untouched` are VOC photos seen through a camera, or as they are."""

    SHIFTED = "shifted"
    UNTOUCHED = "untouched"
    CAMVID = "camvid"
    PSS = "pss"
    JUNK = "junk"


@dataclass(frozen=True)
class GalleryRecipe:
    """One user of the benchmark. `subject`: a key of SUBJECTS, a CamVid drive, `pss/idN`, or `junk/KIND`; `photos`: at most so many."""

    subject: str
    camera: str = "untouched"
    seed: int = 0
    photos: int = 64
    half: str = "report"

    @property
    def name(self) -> str:
        """For tables and cache keys."""
        return f"{self.subject}-{self.camera}-{self.photos}-{self.half}-s{self.seed}"

    @property
    def title(self) -> str:
        """For a reader: what tells this gallery from the others of a table."""
        return self.subject if self.subject not in SUBJECTS else f"{self.subject} {self.camera.replace('_', ' ')}"

    @property
    def kind(self) -> Kind:
        """The mean that it counts in."""
        if self.subject.startswith(PSS):
            return Kind.PSS
        if self.subject.startswith(JUNK):
            return Kind.JUNK
        if self.subject not in SUBJECTS:
            return Kind.CAMVID
        return Kind.UNTOUCHED if self.camera == "untouched" else Kind.SHIFTED

    @property
    def is_drive(self) -> bool:
        """Whether this is a CamVid drive (its frames as they are)."""
        return self.kind is Kind.CAMVID


REPORTED: tuple[GalleryRecipe, ...] = (
    GalleryRecipe("mixed", "low_light", 1),
    GalleryRecipe("pets", "low_light", 2),
    GalleryRecipe("street", "haze", 3),
    GalleryRecipe("farm", "haze", 4),
    GalleryRecipe("pets", "webcam", 5),
    GalleryRecipe("mixed", "webcam", 6),
    GalleryRecipe("street", "blur", 7),
    GalleryRecipe("farm", "grey", 8),
    GalleryRecipe("pets", "warm", 9),
    GalleryRecipe("street", "cold", 10),
    GalleryRecipe("mixed", "untouched", 11),
    GalleryRecipe("farm", "untouched", 12),
    *(GalleryRecipe(drive) for drive in DRIVES),
)
"""The survey's galleries: ten seen through seven cameras, two untouched, three CamVid drives."""

SHORT: tuple[GalleryRecipe, ...] = (
    GalleryRecipe("pets", "low_light", 2, photos=8),
    GalleryRecipe("mixed", "untouched", 11, photos=8),
    GalleryRecipe("0001TP", photos=8),
)
"""Enough to see that every method runs, and roughly where it stands."""

JUNK_KINDS = ("one_photo", "copies", "black", "noise", "text", "sky")
JUNK_GALLERIES: tuple[GalleryRecipe, ...] = tuple(GalleryRecipe(JUNK + kind) for kind in JUNK_KINDS)
"""Nothing can be learned from these: the outcome must be `refused` or unchanged, never an error."""


def parse_recipe(text: str) -> GalleryRecipe:
    """`subject[:camera[:seed[:photos[:half]]]]`, e.g. `pets:low_light:3:48:tune`. Raises typer.BadParameter."""
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts[2:4]]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: seed and photos are whole numbers") from error
    if len(parts) > 5 or (len(parts) > 1 and parts[1] not in CAMERAS):
        raise typer.BadParameter(f"{text!r}: expected subject[:camera[:seed[:photos[:half]]]], camera one of {', '.join(CAMERAS)}")
    known = parts[0] in SUBJECTS or parts[0] in DRIVES or parts[0].startswith(PSS) or parts[0].removeprefix(JUNK) in JUNK_KINDS
    if not known or parts[4:] not in ([], ["tune"], ["report"]):
        subjects = ", ".join((*SUBJECTS, *DRIVES, "pss/idN", *(JUNK + kind for kind in JUNK_KINDS)))
        raise typer.BadParameter(f"{text!r}: subject is one of {subjects}; half is tune or report")
    subject, camera, half = parts[0], parts[1] if parts[1:] else "untouched", parts[4] if parts[4:] else "report"
    seed, photos = numbers[0] if numbers else 0, numbers[1] if numbers[1:] else 64
    return GalleryRecipe(subject, camera, seed, photos, half)
