"""Queries on masks; every one is of one user."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Mask


def newest(session: Session, user_id: str, image_id: str, *, version: int, base: str | None = None) -> Mask | None:
    """The photo's mask by this model version (0 = base), the newest where several bases have made one."""
    statement = select(Mask).where(Mask.user_id == user_id, Mask.image_id == image_id, Mask.model_version == version)
    if base is not None:
        statement = statement.where(Mask.base == base)
    return session.execute(statement.order_by(Mask.created_at.desc()).limit(1)).scalar_one_or_none()
