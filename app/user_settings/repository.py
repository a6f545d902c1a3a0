"""Queries on what a user has chosen."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.tables import User


def auto_adapt(session: Session, user_id: str) -> bool | None:
    """Whether adaptations start by themselves; None for no such user."""
    return session.execute(select(User.auto_adapt).where(User.id == user_id, User.erased_at.is_(None))).scalar_one_or_none()


def set_auto_adapt(session: Session, user_id: str, wanted: bool) -> None:
    """Switch it on or off; switched on, the photos that are there already count as new."""
    changed = update(User).where(User.id == user_id, User.auto_adapt.is_not(wanted))
    session.execute(changed.values(auto_adapt=wanted, auto_adapt_seen=None), execution_options={"synchronize_session": False})
