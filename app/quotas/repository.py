"""Queries on what a user may use and has used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.tables import Image, Job, JobKind, User
from app.user_lock import lock_user


class AdaptationUse(NamedTuple):
    """What of an adaptation tells how long it took."""

    request: dict[str, Any]
    started_at: datetime | None
    finished_at: datetime | None
    measured: Any
    """`seconds` of its report."""


def user(session: Session, user_id: str, *, locked: bool = False) -> User | None:
    """The user, unless erased; `locked`: nobody else counts or adds for this user until the transaction ends."""
    found = lock_user(session, user_id) if locked else session.get(User, user_id)
    return None if found is None or found.erased_at is not None else found


def stored(session: Session, user_id: str) -> tuple[int, int]:
    """How many photos the user has, and their bytes; answered by an index alone."""
    statement = select(func.count(), func.coalesce(func.sum(Image.byte_size), 0)).where(Image.user_id == user_id)
    count, size = session.execute(statement).one()
    return int(count), int(size)


def adaptations(session: Session, user_id: str, since: datetime) -> list[AdaptationUse]:
    """The user's adaptations that ended after this time or have not ended, in the order of their end."""
    return adaptations_of(session, [user_id], since)[user_id]


def adaptations_of(session: Session, user_ids: Sequence[str], since: datetime) -> dict[str, list[AdaptationUse]]:
    """As `adaptations`, of each of some hundred users."""
    statement = select(Job.user_id, Job.request, Job.started_at, Job.finished_at, Job.report["seconds"]).where(
        Job.user_id.in_(user_ids), Job.kind == JobKind.ADAPTATION, or_(Job.finished_at.is_(None), Job.finished_at > since)
    )
    found: dict[str, list[AdaptationUse]] = {user_id: [] for user_id in user_ids}
    for user_id, *use in session.execute(statement.order_by(Job.finished_at)):
        found[user_id].append(AdaptationUse(*use))
    return found


def users(session: Session, user_ids: Sequence[str]) -> Sequence[User]:
    """Those of some hundred users that are not erased."""
    return session.scalars(select(User).where(User.id.in_(user_ids), User.erased_at.is_(None))).all()
