"""Queries on photos; every one is of one user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from app.tables import Image

_IDS_PER_QUERY = 500  # SQLite bounds the number of parameters


def get(session: Session, user_id: str, image_id: str) -> Image | None:
    """One photo of the user."""
    return session.execute(select(Image).where(Image.user_id == user_id, Image.id == image_id)).scalar_one_or_none()


def id_of_content(session: Session, user_id: str, sha256: str) -> str | None:
    """The user's photo with these very bytes."""
    return session.execute(select(Image.id).where(Image.user_id == user_id, Image.sha256 == sha256)).scalar_one_or_none()


def page(session: Session, user_id: str, *, after: str, limit: int) -> Sequence[Image]:
    """Up to `limit` photos that arrived after this id."""
    statement = select(Image).where(Image.user_id == user_id, Image.id > after).order_by(Image.id).limit(limit)
    return session.scalars(statement).all()


def all_ids(session: Session, user_id: str, *, limit: int, kept: bool = False) -> Sequence[str]:
    """The ids of the gallery in order of arrival, at most `limit`; `kept`: nobody deletes these photos until the transaction ends."""
    return session.scalars(_ids(user_id, kept=kept).limit(limit)).all()


def existing_ids(session: Session, user_id: str, image_ids: Sequence[str], *, kept: bool = False) -> set[str]:
    """Those of the ids that are the user's photos, `kept` as of `all_ids`."""
    ids = sorted(image_ids)
    found: set[str] = set()
    for start in range(0, len(ids), _IDS_PER_QUERY):
        found.update(session.scalars(_ids(user_id, kept=kept).where(Image.id.in_(ids[start : start + _IDS_PER_QUERY]))))
    return found


def _ids(user_id: str, *, kept: bool) -> Select[str]:
    # In one order, so that whoever locks several waits for nobody who waits for them. SQLite writes one at a time anyway.
    ids = select(Image.id).where(Image.user_id == user_id).order_by(Image.id)
    return ids.with_for_update(read=True, key_share=True) if kept else ids


def count(session: Session, user_id: str) -> int:
    """How many photos the user has."""
    return session.execute(select(func.count()).where(Image.user_id == user_id)).scalar_one()


def delete_image(session: Session, user_id: str, image_id: str) -> None:
    """Remove the photo's row; its masks and its places in jobs go with it."""
    session.execute(delete(Image).where(Image.user_id == user_id, Image.id == image_id))
