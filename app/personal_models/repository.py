"""Queries on the versions of a user's model."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.adaptations.short_reports import with_short_reports
from app.tables import Mask, PersonalModel


def page(session: Session, user_id: str, *, before: str, limit: int) -> Sequence[PersonalModel]:
    """Up to `limit` versions made before this id ("": the newest), newest first; their reports without `groups`."""
    statement = select(PersonalModel).where(PersonalModel.user_id == user_id)
    if before:
        statement = statement.where(PersonalModel.id < before)
    return with_short_reports(session, statement.order_by(PersonalModel.id.desc()).limit(limit), PersonalModel)


def get(session: Session, user_id: str, version: int, *, locked: bool = False) -> PersonalModel | None:
    """One version; `locked`: its row locked, once nobody else holds it."""
    statement = select(PersonalModel).where(PersonalModel.user_id == user_id, PersonalModel.version == version)
    if locked:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.execute(statement).scalar_one_or_none()


def active(session: Session, user_id: str) -> PersonalModel | None:
    """The version in use; None when the user has the base."""
    return session.execute(select(PersonalModel).where(PersonalModel.user_id == user_id, PersonalModel.active)).scalar_one_or_none()


def deactivate_all(session: Session, user_id: str) -> None:
    """Put the user back on the base."""
    session.execute(update(PersonalModel).where(PersonalModel.user_id == user_id).values(active=False))


def delete_with_masks(session: Session, user_id: str, model: PersonalModel) -> list[str]:
    """Remove the version's row and the rows of the masks that it made; returns the keys of their blobs."""
    masks = delete(Mask).where(Mask.user_id == user_id, Mask.model_version == model.version, Mask.base == model.base)
    # As keys, not as objects: there may be a mask a photo, and on SQLite nobody else writes meanwhile.
    deleted = session.execute(masks.returning(Mask.labels_key, Mask.confidence_key), execution_options={"synchronize_session": False})
    keys = [model.blob_key, *(key for row in deleted for key in row)]
    session.execute(delete(PersonalModel).where(PersonalModel.user_id == user_id, PersonalModel.version == model.version))
    return keys
