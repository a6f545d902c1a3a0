"""What a demonstration found out: plain frozen values that the run fills and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

JsonObject = dict[str, Any]

MADE_BY = "personalseg demo"
"""Marks a report.json, and with it a folder, as ours: only such a folder is ever replaced."""
MADE_BY_PERSONALIZE = "personalseg personalize"
"""The same, of what `workers.folder` wrote."""


@dataclass(frozen=True)
class ClassInfo:
    """A class of the base; `color` is (red, green, blue), each 0 to 255."""

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ClassShare:
    """How much of a picture a class covers; `share` in (0, 1]."""

    id: int
    name: str
    share: float


@dataclass(frozen=True)
class Verdict:
    """The guard's decision; `sentence` is for people, `figures` are the numbers behind it."""

    accepted: bool
    code: str
    sentence: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A part of the work and what it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Photo:
    """One photo and its masks. Paths use `/`; `path` is relative to the photo folder, the others to the out folder."""

    path: str
    image_id: str
    width: int
    height: int
    group: int | None
    personal_mask: str
    base_mask: str
    overlay: str
    changed_share: float
    personal_classes: tuple[ClassShare, ...]
    base_classes: tuple[ClassShare, ...]


@dataclass(frozen=True)
class Rejected:
    """A file that has no mask, and why."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class DemoResult:
    """The whole outcome. `steps` are the demo's own (upload, adapt, …), `stages` those inside the adaptation.

    `sha256` is of every file of the out folder but report.json: one that was edited since is not replaced.
    """

    made_at: str
    version: str
    source: str
    base: str
    verdict: Verdict | None
    photos: Sequence[Photo]
    rejected: Sequence[Rejected]
    classes: Sequence[ClassInfo]
    steps: Sequence[Stage]
    stages: Sequence[Stage]
    problems: Sequence[str] = ()
    adaptation: JsonObject = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The whole demo, in seconds."""
        return sum(step.seconds for step in self.steps)

    @property
    def changed_share(self) -> float:
        """The share of all pixels whose class the personal model changed, in [0, 1]."""
        pixels = sum(photo.width * photo.height for photo in self.photos)
        changed = sum(photo.changed_share * photo.width * photo.height for photo in self.photos)
        return changed / pixels if pixels else 0.0

    def groups(self) -> dict[int | None, list[Photo]]:
        """The photos by group, in the groups' order and there the most changed first; None, the groupless, comes last."""
        found: dict[int | None, list[Photo]] = {}
        for photo in sorted(self.photos, key=_place):
            found.setdefault(photo.group, []).append(photo)
        return found

    def group_count(self) -> int:
        """How many groups were found."""
        return sum(1 for index in self.groups() if index is not None)

    def area_shares(self, model: str) -> list[ClassShare]:
        """Class areas over all photos (each photo counts the same), largest first; `model` is `personal` or `base`."""
        totals: dict[int, float] = {}
        names: dict[int, str] = {}
        for photo in self.photos:
            for entry in photo.personal_classes if model == "personal" else photo.base_classes:
                totals[entry.id] = totals.get(entry.id, 0.0) + entry.share / len(self.photos)
                names[entry.id] = entry.name
        shares = [ClassShare(index, names[index], share) for index, share in totals.items()]
        return sorted(shares, key=lambda entry: (-entry.share, entry.id))

    def as_json(self) -> JsonObject:
        """The content of report.json."""
        return {
            "made_by": MADE_BY,
            **asdict(self),
            "seconds": round(self.seconds, 3),
            "changed_share": self.changed_share,
            "group_count": self.group_count(),
        }


def _place(photo: Photo) -> tuple[bool, int, float, str]:
    return (photo.group is None, photo.group or 0, -photo.changed_share, photo.path)
