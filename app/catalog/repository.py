"""Queries on the base models that workers have registered. They belong to no user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import RegisteredBase


def bases(session: Session) -> Sequence[RegisteredBase]:
    """All bases, the default first, then by name."""
    statement = select(RegisteredBase).order_by(RegisteredBase.is_default.desc(), RegisteredBase.name)
    return session.scalars(statement).all()
