"""Which blobs of a user some row speaks of."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.storage import checkpoint_key, photo_key
from app.tables import ACTIVE_STATUSES, Image, Job, JobKind, Mask, PersonalModel, User


def has_user(session: Session, user_id: str) -> bool | None:
    """Whether there is such a user, erased or not; None where there is no user at all."""
    # In one statement, so that both answers are of one moment: users may be coming or going as a whole.
    is_there, has_any = session.execute(select(exists().where(User.id == user_id), exists(select(User.id)))).one()
    return is_there if has_any else None


def has_photo(session: Session, user_id: str, sha256: str) -> bool:
    """Whether the user's gallery has a photo of these bytes."""
    return session.execute(select(Image.id).where(Image.user_id == user_id, Image.sha256 == sha256)).first() is not None


def photo_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's photos."""
    return {photo_key(user_id, sha256) for sha256 in session.scalars(select(Image.sha256).where(Image.user_id == user_id))}


def model_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's personal models."""
    return set(session.scalars(select(PersonalModel.blob_key).where(PersonalModel.user_id == user_id)))


def mask_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's masks."""
    rows = session.execute(select(Mask.labels_key, Mask.confidence_key).where(Mask.user_id == user_id))
    return {key for row in rows for key in row}


def checkpoint_keys(session: Session, user_id: str) -> set[str]:
    """The checkpoints of the user's adaptations that have not ended."""
    going_on = select(Job.id, Job.lease_token).where(
        Job.user_id == user_id, Job.kind == JobKind.ADAPTATION, Job.status.in_(ACTIVE_STATUSES)
    )
    return {checkpoint_key(user_id, job_id, token) for job_id, last in session.execute(going_on) for token in range(1, last + 1)}
