"""The one lock of a user's row: whoever counts, adds, replaces or erases for a user takes it first."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import User


def lock_user(session: Session, user_id: str) -> User | None:
    """The user, erased or not; nobody else holds the lock until the transaction ends, and what is read after this stays true."""
    # SQLite has no row locks and needs none: its writers come one at a time.
    statement = select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True)
    return session.execute(statement).scalar_one_or_none()
