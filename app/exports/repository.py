"""Queries of an export; every one is of one user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Image, Mask

_ROWS_AT_A_TIME = 500


def images(session: Session, user_id: str) -> Sequence[Image]:
    """The gallery in order of arrival."""
    return session.scalars(select(Image).where(Image.user_id == user_id).order_by(Image.id)).all()


def masks(session: Session, user_id: str, *, version: int, base: str | None = None) -> dict[str, Mask]:
    """Image id → its mask by this model version (0 = base), the newest where several bases have made one."""
    statement = select(Mask).where(Mask.user_id == user_id, Mask.model_version == version)
    if base is not None:
        statement = statement.where(Mask.base == base)
    rows = session.scalars(statement.order_by(Mask.created_at), execution_options={"yield_per": _ROWS_AT_A_TIME})
    return {mask.image_id: mask for mask in rows}
