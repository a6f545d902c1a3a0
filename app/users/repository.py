"""Queries on users and tokens."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.tables import ACTIVE_STATUSES, Image, Job, Mask, PersonalModel, User


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


def active_jobs(session: Session, user_id: str) -> list[Job]:
    """The user's jobs that are queued or running."""
    return list(session.scalars(select(Job).where(Job.user_id == user_id, Job.status.in_(ACTIVE_STATUSES))))


def count_rows(session: Session, user_id: str) -> dict[str, int]:
    """How many rows of each kind belong to the user."""
    owners = {"images": Image.user_id, "masks": Mask.user_id, "models": PersonalModel.user_id, "jobs": Job.user_id}
    return {name: session.execute(select(func.count()).where(owner == user_id)).scalar_one() for name, owner in owners.items()}


def delete_everything(session: Session, user_id: str) -> None:
    """Remove the user's row; the foreign keys take everything else with it."""
    session.execute(delete(User).where(User.id == user_id))
