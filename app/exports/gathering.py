"""What goes into an export: the photos, each with the mask that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.catalog import repository as catalog_repository
from app.exports import repository
from app.exports.names import unique_stems
from app.exports.repository import ExportedImage, ExportedMask, Layer
from app.model_choice import ModelChoice
from app.personal_models import repository as model_repository
from app.personal_models import service as models_service
from app.tables import RegisteredBase

BACKGROUND = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo of the export; its mask is None where it has not been made."""

    image: ExportedImage
    mask: ExportedMask | None
    stem: str


@dataclass(frozen=True)
class ExportClass:
    """A class of the exported masks."""

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Gathered:
    """Everything that an export needs of the database; read before the first byte is sent, held until the last one is."""

    user_id: str
    entries: Sequence[Entry]
    classes: Sequence[ExportClass]


class LeftOut(Exception):
    """Why one photo is not in the export: a stable code, and a sentence for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def gather(session: Session, user_id: str, choice: ModelChoice | None, layer: Layer) -> Gathered:
    """The gallery with its masks; raises NotFound for a model version that the user does not have."""
    masks = _chosen_masks(session, user_id, choice, layer)
    images = repository.images(session, user_id)
    stems = unique_stems(image.filename for image in images)
    entries = [Entry(image, masks.get(image.id), stem) for image, stem in zip(images, stems, strict=True)]
    used = {mask.base for mask in masks.values()}
    return Gathered(user_id, entries, _classes(base for base in catalog_repository.bases(session) if base.name in used))


def _chosen_masks(session: Session, user_id: str, choice: ModelChoice | None, layer: Layer) -> dict[str, ExportedMask]:
    """As `GET …/mask` chooses: without a choice the model in use, photo by photo the base where that has made none."""
    if isinstance(choice, int):
        version = models_service.require(session, user_id, choice)
        return repository.masks(session, user_id, layer, version=version.version, base=version.base)
    active = None if choice == "base" else model_repository.active(session, user_id)
    if active is None:
        return repository.masks(session, user_id, layer, version=0)
    personal = repository.masks(session, user_id, layer, version=active.version, base=active.base)
    if choice == "personal":
        return personal
    # A zip has one list of classes: masks of another base would give its ids another meaning.
    return {**repository.masks(session, user_id, layer, version=0, base=active.base), **personal}


def _classes(bases: Iterable[RegisteredBase]) -> list[ExportClass]:
    found: dict[int, ExportClass] = {}
    for entry in (entry for base in bases for entry in base.classes):
        red, green, blue = entry["color"]
        found.setdefault(int(entry["id"]), ExportClass(int(entry["id"]), str(entry["name"]), (red, green, blue)))
    return [found[class_id] for class_id in sorted(found)]
