"""Queries on users and tokens."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.tables import Image, User


def get(session: Session, user_id: str) -> User | None:
    """The user, erased or not."""
    return session.get(User, user_id)


def id_of_external(session: Session, external_id: str) -> str | None:
    """The id of the user whom the application calls this."""
    return session.execute(select(User.id).where(User.external_id == external_id)).scalar_one_or_none()


def page(session: Session, *, after: str, limit: int) -> list[User]:
    """Up to `limit` users made after this id, without those that are being erased; for service tokens only."""
    statement = select(User).where(User.id > after, User.erased_at.is_(None)).order_by(User.id).limit(limit)
    return list(session.scalars(statement))


def gallery_size(session: Session, user_id: str) -> tuple[int, int]:
    """How many photos the user has, and their bytes."""
    count, size = session.execute(
        select(func.count(Image.id), func.coalesce(func.sum(Image.byte_size), 0)).where(Image.user_id == user_id)
    ).one()
    return int(count), int(size)
