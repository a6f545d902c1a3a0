"""How far a gallery has moved on since a model saw it: photos that came, photos that went. Shared by API and workers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Row, Select, func, select, type_coerce
from sqlalchemy.orm import Session

from app import base_choice
from app.settings import Settings
from app.tables import Image, Job, JobKind, JobStatus, PersonalModel

# The stage in which an adaptation reads which photos there are; every attempt begins with it.
_READING_STAGE = "loading"
# The code (`workers.failures`) of a job whose personal model's file is gone, damaged, or of another version of the service.
_MODEL_FILE_INVALID = "model_file_invalid"


@dataclass(frozen=True)
class Freshness:
    """A gallery against what one model saw of it."""

    photos: int
    newer: int
    removed: int

    @property
    def newer_share(self) -> float:
        """The share of the gallery that came after the model had looked, in [0, 1]."""
        return self.newer / self.photos if self.photos else 0.0

    @property
    def is_stale(self) -> bool:
        """Whether anything came or went since."""
        return self.newer > 0 or self.removed > 0


def of_model(session: Session, user_id: str, model: PersonalModel) -> Freshness:
    """The user's gallery against what this version saw of it."""
    photos, newer = _count(session, user_id, None), _count(session, user_id, _seen_at(session, user_id, model))
    return _against(model, photos, newer)


def of_models(session: Session, user_id: str, models: Sequence[PersonalModel]) -> list[Freshness]:
    """The same of several versions, in their order; asks the database three times, however many they are."""
    if not models:
        return []
    seen = _all_seen_at(session, user_id, models)
    photos, arrivals = _count(session, user_id, None), _arrivals(session, user_id, min(seen))
    newer = [len(arrivals) - bisect_right(arrivals, at) for at in seen]
    return [_against(model, photos, count) for model, count in zip(models, newer, strict=True)]


def _against(model: PersonalModel, photos: int, newer: int) -> Freshness:
    saw = model.report.get("photos")
    removed = max(0, saw - (photos - newer)) if isinstance(saw, int) else 0
    return Freshness(photos, newer, removed)


def needs_adaptation(session: Session, settings: Settings, user_id: str, base: str | None = None) -> bool:
    """Whether `adapt: auto` should adapt: no model yet, or a large share of the gallery is newer than the last look at it.

    Of a request that names its base, only models and adaptations of that base count: what another saw says nothing of it.

    Also where a worker found its file gone or damaged, once. A refused adaptation has looked, too: the same photos would be refused
    again. So has, where an earlier model was put back in use, the later one: otherwise the next request would undo that.
    """
    model = base_choice.personal_on(session, user_id, base)
    outcomes = [JobStatus.REFUSED] if model is None else [JobStatus.REFUSED, JobStatus.SUCCEEDED]
    if model is not None and _is_lost(session, user_id, model, base):
        return True
    newest = _adaptations(user_id, base).where(Job.status.in_(outcomes)).order_by(Job.id.desc()).limit(1)
    made = session.execute(newest).one_or_none()
    looks = [
        None if model is None else _seen_at(session, user_id, model),
        None if made is None else _gallery_read_at(made),
    ]
    seen_at = max((at for at in looks if at is not None), default=None)
    if seen_at is None:
        return True
    return _count(session, user_id, seen_at) >= settings.stale_gallery_share * max(1, _count(session, user_id, None))


def _is_lost(session: Session, user_id: str, model: PersonalModel, base: str | None) -> bool:
    """Whether a worker could not read the model's file, and no adaptation (of the base) has ended since; a refused one makes no other."""
    of_user = Job.user_id == user_id
    unread = select(func.max(Job.finished_at)).where(
        of_user,
        Job.kind == JobKind.SEGMENTATION,
        Job.status == JobStatus.FAILED,
        Job.error_code == _MODEL_FILE_INVALID,
        Job.model_version == model.version,
    )
    at = session.execute(unread).scalar_one()
    if at is None:
        return False
    ended = _adaptations(user_id, base).where(Job.finished_at > at).limit(1)
    return session.execute(ended).first() is None


def _gallery_read_at(adaptation: Row[Any]) -> datetime | None:
    """When the newest of its photos came, by the API's clock; in an older release, when they were read; None before that."""
    if adaptation.photos_until is not None:
        return datetime.fromisoformat(adaptation.photos_until)
    readings = [span["started_at"] for span in adaptation.timeline or () if span["stage"] == _READING_STAGE]
    return datetime.fromisoformat(readings[-1]) if readings else adaptation.started_at


def _seen_at(session: Session, user_id: str, model: PersonalModel) -> datetime:
    return _all_seen_at(session, user_id, [model])[0]


def _all_seen_at(session: Session, user_id: str, models: Sequence[PersonalModel]) -> list[datetime]:
    job_ids = [model.job_id for model in models if model.job_id is not None]
    made_by = session.execute(_adaptations(user_id).where(Job.id.in_(job_ids)))
    read_at = {adaptation.id: _gallery_read_at(adaptation) for adaptation in made_by}
    return [read_at.get(model.job_id) or model.created_at for model in models]


def _adaptations(user_id: str, base: str | None = None) -> Select[Any]:
    # Whole, a job would come with its report.
    until = type_coerce(Job.report, JSON)["photos_until"].as_string().label("photos_until")
    found = select(Job.id, Job.timeline, Job.started_at, until).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION)
    return found if base is None else found.where(Job.base == base)


def _arrivals(session: Session, user_id: str, after: datetime) -> Sequence[datetime]:
    statement = select(Image.created_at).where(Image.user_id == user_id, Image.created_at > after)
    return session.scalars(statement.order_by(Image.created_at)).all()


def _count(session: Session, user_id: str, after: datetime | None) -> int:
    statement = select(func.count()).where(Image.user_id == user_id)
    if after is not None:
        statement = statement.where(Image.created_at > after)
    return session.execute(statement).scalar_one()
